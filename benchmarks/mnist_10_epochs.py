"""Ten epochs of a 784-400-20 VAE on MNIST: quality, time and memory, beside PyTorch.

ReLU, Adam 1e-3, batches of 128, cross-entropy on grey pixels. For each seed tinyvae and then
PyTorch train in a fresh process. Both read the images with tinyvae's loader. PyTorch is at
its best for a CPU: eager, the whole training set as one float tensor, batches cut from it by
a random permutation, no DataLoader; where it is not installed it is left out.

elbo, bce, kl   -ELBO and its parts on the 10,000 test images, one posterior sample for
                each, in nats per image
train_s         wall time of the training alone, with what it logs
process_s       wall time of the whole process: start, import, reading, training, test
peak_mb         the most memory that the process held, in 10^6 bytes
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from harness import (
    HAS_TORCH,
    Contestant,
    Row,
    floor,
    parser,
    peak_mb,
    ratios,
    report,
    run,
    seconds,
)

HIDDEN, LATENT, BATCH, RATE = 400, 20, 128, 1e-3


# The contestants: each reads the images, and returns a function that trains with a seed


def play_tinyvae(data: str, epochs: int) -> Callable[..., Row]:
    """tinyvae: `fit` and `elbo` with their defaults."""
    import tinyvae as tv
    from tinyvae.data import load
    from tinyvae.evaluation.elbo import elbo

    images = load(data)

    def train(seed: int) -> Row:
        model = tv.VAE(images.image_shape, LATENT, (HIDDEN,), seed=seed)
        options = {"epochs": epochs, "batch": BATCH, "learning_rate": RATE, "seed": seed}
        train_s = seconds(lambda: tv.fit(model, images.train, **options))
        found = elbo(model, images.test, seed)
        return _outcome(found.reconstruction, found.kl, train_s)

    return train


def play_torch(data: str, epochs: int) -> Callable[..., Row]:
    """PyTorch, eager."""
    import torch
    from torch_vae import TorchVAE, train_step

    from tinyvae.data import load

    images = load(data)
    train_x, test_x = (
        torch.from_numpy(part.batch(slice(None))) for part in (images.train, images.test)
    )

    def train(seed: int) -> Row:
        torch.manual_seed(seed)
        model = TorchVAE(train_x.shape[1], (HIDDEN,), LATENT)
        optimiser = torch.optim.Adam(model.parameters(), RATE)

        def epoch() -> None:
            for rows in torch.randperm(len(train_x)).split(BATCH):
                train_step(model, optimiser, train_x[rows], torch.randn(len(rows), LATENT))

        train_s = seconds(lambda: [epoch() for _ in range(epochs)])
        with torch.no_grad():
            parts = [model.terms(x, torch.randn(len(x), LATENT)) for x in test_x.split(1000)]
        bce, kl = (float(sum(part)) / len(test_x) for part in zip(*parts, strict=True))
        return _outcome(bce, kl, train_s)

    return train


def _outcome(bce: float, kl: float, train_s: float) -> Row:
    row = {"elbo": bce + kl, "bce": bce, "kl": kl, "train_s": train_s}
    return row | {"peak_mb": peak_mb()}


PAIR = ("tinyvae", "torch")
CONTESTANTS = {"tinyvae": play_tinyvae} | ({"torch": play_torch} if HAS_TORCH else {})


# The benchmark


def whole_process(name: str, seed: int, **config: Any) -> Row:
    """A row of the table: a process from its start to its end."""
    start = time.perf_counter()
    with Contestant(name, **config) as contestant:
        row = contestant(seed=seed)
    process_s = time.perf_counter() - start
    print(f"{name}, seed {seed}: {row['elbo']:.2f} nats, {process_s:.1f} s", file=sys.stderr)
    return {"contestant": name, "seed": seed} | row | {"process_s": process_s}


def floors(runs: list[Row], same_as_published: bool) -> list[Row]:
    """What is promised; of the published loss only where the run is the same."""
    ours, theirs = ([row for row in runs if row["contestant"] == name] for name in PAIR)
    promised = [floor("tinyvae's peak_mb", [max(row["peak_mb"] for row in ours)], 250)]
    if same_as_published:
        losses = {f"-ELBO of seed {row['seed']}": row["elbo"] for row in ours}
        promised += [floor(what, [loss], 106.2, 104.8) for what, loss in losses.items()]
    for key in ("train_s", "process_s") if theirs else ():
        pairs = ratios([row[key] for row in ours], [row[key] for row in theirs])
        promised.append(floor(f"{key}, tinyvae / torch", pairs, 1))
    return promised


def main() -> None:
    """Seed by seed, contestant by contestant."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--data", default="mnist", help="a grey data set of tinyvae's list")
    chosen = options.parse_args()
    runs = [
        whole_process(name, seed, data=chosen.data, epochs=chosen.epochs)
        for seed in chosen.seeds * chosen.rounds
        for name in CONTESTANTS
    ]
    published = (chosen.data, chosen.epochs) == ("mnist", 10)
    report("mnist_10_epochs", chosen, rows=runs, floors=floors(runs, published))


if __name__ == "__main__":
    run(main, CONTESTANTS)
