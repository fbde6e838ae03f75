"""The log-likelihood of 1,000 MNIST images with 5,000 samples each: time and memory.

A 784-400-20 VAE that tinyvae has trained for an epoch; images binarised once. For each image
5,000 codes are drawn from its posterior, decoded and weighed, 1,000 at a time. PyTorch does the
same with the same weights in the same chunks, on fewer images: what counts is the time for
each. Where it is not installed it is left out.

log_p       the estimate of log p(x), averaged over the images, in nats
error       its standard error, because the codes are drawn
s           wall time, without the training
cpu_s       the same of the processor, all threads together: on a busy machine the one to read
ms_image    wall time for one image
peak_mb     the most memory that the process held, in 10^6 bytes, the training images too
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from harness import (
    HAS_TORCH,
    Contestant,
    Row,
    floor,
    in_turn,
    parser,
    peak_mb,
    report,
    run,
    seconds,
)

HIDDEN, LATENT, CHUNK = 400, 20, 1000


# The contestants: each trains the same model, and returns a function that judges it


def play_tinyvae(data: str) -> Callable[..., Row]:
    """tinyvae's `log_likelihood`."""
    import tinyvae as tv

    model, test = _trained(data)

    def judge(images: int, samples: int) -> Row:
        found = []
        times = _timed(lambda: found.append(tv.log_likelihood(model, test[:images], samples)))
        return _row(images, samples, found[0].mean, found[0].standard_error, times)

    return judge


def play_torch(data: str) -> Callable[..., Row]:
    """PyTorch, eager, without gradients."""
    import torch
    from torch_vae import TorchVAE

    ours, test = _trained(data)
    x = torch.from_numpy(test.batch(slice(None)))
    model = TorchVAE(x.shape[1], (HIDDEN,), LATENT)
    with torch.no_grad():
        for mine, theirs in zip(model.parameters(), ours.state_dict().values(), strict=True):
            mine.copy_(torch.from_numpy(theirs.T))  # PyTorch keeps (O, I)

    def judge(images: int, samples: int) -> Row:
        found: list[Any] = []
        with torch.no_grad():
            times = _timed(lambda: found.extend(_torch_weights(model, x[:images], samples)))
        log_w = torch.stack(found).double()  # (N, S)
        mean = torch.logsumexp(log_w, 1) - math.log(samples)  # (N,)
        spread = (log_w - mean[:, None]).exp().var(1) / samples
        return _row(images, samples, float(mean.mean()), math.sqrt(spread.sum()) / images, times)

    return judge


def _torch_weights(model: Any, x: Any, samples: int) -> Any:
    """For each image the logarithms of its weights, (S,)."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    for row in x:
        mean, log_variance = model.encoder(row).chunk(2)  # (K,)
        parts = []
        for done in range(0, samples, CHUNK):
            noise = torch.randn(min(CHUNK, samples - done), LATENT)
            z = mean + torch.exp(0.5 * log_variance) * noise  # (S, K)
            logits = model.decoder(z)  # (S, D)
            target = row.expand_as(logits)
            bce = binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1)
            ratio = 0.5 * (noise.pow(2) + log_variance - z.pow(2)).sum(1)  # log p(z) - log q(z | x)
            parts.append(ratio - bce)
        yield torch.cat(parts)


def _trained(data: str) -> tuple[Any, Any]:
    """A model after an epoch, and the images to judge."""
    import tinyvae as tv
    from tinyvae.data import load

    images = load(data)
    model = tv.VAE(images.image_shape, LATENT, (HIDDEN,))
    tv.fit(model, images.train, epochs=1, batch=128, binarise="dynamic")
    return model, images.test.binarised(tv.Noise(0, "binarise", backend="numpy"))


def _timed(act: Callable[[], object]) -> Row:
    begun = time.process_time()
    return {"s": seconds(act), "cpu_s": time.process_time() - begun}


def _row(images: int, samples: int, log_p: float, error: float, times: Row) -> Row:
    row = {"images": images, "samples": samples, "log_p": log_p, "error": error} | times
    return row | {"ms_image": 1e3 * times["s"] / images, "peak_mb": peak_mb()}


CONTESTANTS = {"tinyvae": play_tinyvae} | ({"torch": play_torch} if HAS_TORCH else {})


# The benchmark


def main() -> None:
    """All images once; then the two contestants in turn on some of them."""
    options = parser(__doc__, rounds=3)
    options.add_argument("--data", default="mnist", help="a grey data set of tinyvae's list")
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--samples", type=int, default=5000)
    options.add_argument("--compared", type=int, default=50, help="images beside PyTorch")
    chosen = options.parse_args()
    with Contestant("tinyvae", data=chosen.data) as contestant:
        whole = contestant(images=chosen.images, samples=chosen.samples)
    print(f"{chosen.images} images: {whole['s']:.1f} s", file=sys.stderr)
    rows, floors = [{"contestant": "tinyvae"} | whole], []
    if (chosen.data, chosen.images, chosen.samples) == ("mnist", 1000, 5000):
        floors += [floor("s", [whole["s"]], 180), floor("peak_mb", [whole["peak_mb"]], 1000)]
    if HAS_TORCH:
        compared, ratios = _beside_torch(chosen)
        rows, floors = rows + compared, [*floors, floor("time, tinyvae / torch", ratios, 1.25)]
    report("likelihood", chosen, rows=rows, floors=floors)


def _beside_torch(chosen: Any) -> tuple[list[Row], list[float]]:
    """The rows of both, and the ratio of their times in each round."""
    asked = {"images": chosen.compared, "samples": chosen.samples}
    config = {"data": chosen.data}
    with Contestant("tinyvae", **config) as ours, Contestant("torch", **config) as theirs:
        pair = {one.name: partial(one, **asked) for one in (ours, theirs)}
        found = in_turn(pair, chosen.rounds)
    rows = [{"contestant": name} | row for name, each in found.items() for row in each]
    pairs = zip(found["tinyvae"], found["torch"], strict=True)
    return rows, [mine["s"] / other["s"] for mine, other in pairs]


if __name__ == "__main__":
    run(main, CONTESTANTS)
