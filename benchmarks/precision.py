"""What coarser matrix products cost in test loss: TF32 and bfloat16, rounded on the CPU.

A GPU rounds the factors of a product to fewer digits, and adds up in float32. Here NumPy does
the same to the factors of every product of every layer, forward and backward, and the rest stays
float32. So this tells how much is learnt, and nothing of time. Ten epochs of a 784-400-20 VAE on
MNIST as in `mnist_10_epochs.py`, each run in a process of its own.

digits  bits behind the point that a factor keeps (float32 itself: 23)
elbo    -ELBO on the test images in products of float32, in nats per image
away    how much more it is than with float32's products and the same seed
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from harness import Contestant, Row, floor, parser, report, run

DIGITS = {"float32": 23, "tf32": 10, "bfloat16": 7}
ALLOWED = 0.1  # nats


def rounded(x: Any, digits: int) -> Any:
    """``x`` in float32 with so many bits behind the point, ties to the even."""
    import numpy as np

    drop = np.uint32(23 - digits)
    if not drop:
        return x
    bits = np.ascontiguousarray(x).view(np.uint32)
    half = (np.uint32(1) << (drop - np.uint32(1))) - np.uint32(1)
    bits = bits + half + ((bits >> drop) & np.uint32(1))
    return ((bits >> drop) << drop).view(np.float32)


def kernels(digits: int) -> dict[str, Callable[..., Any]]:
    """The layers with products whose factors are rounded."""
    import numpy as np

    from tinyvae.backend import once

    def times(a: Any, b: Any, out: Any = None) -> Any:
        return np.matmul(rounded(a, digits), rounded(b, digits), out=out)

    def layer(x: Any, weight: Any, bias: Any, relu: bool) -> Any:
        y = times(x, weight) + bias
        y = np.maximum(y, 0) if relu else y
        h = once(lambda g: g * (y > 0)) if relu else (lambda g: g)
        return y, (
            lambda g, out=None: times(h(g), weight.T, out),
            lambda g, out=None: times(x.T, h(g), out),
            lambda g, out=None: np.sum(h(g), axis=0, out=out),
        )

    return {
        "affine": lambda x, weight, bias: layer(x, weight, bias, relu=False),
        "affine_relu": lambda x, weight, bias: layer(x, weight, bias, relu=True),
    }


def play(precision: str, data: str, epochs: int) -> Callable[..., Row]:
    """Train with such products; judge with float32's."""
    import tinyvae as tv
    from tinyvae.backend import register_kernels
    from tinyvae.data import load
    from tinyvae.evaluation.elbo import elbo

    images = load(data)
    register_kernels(precision, lambda: kernels(DIGITS[precision]))

    def train(seed: int) -> Row:
        with tv.use("numpy", kernels=precision):
            model = tv.VAE(images.image_shape, 20, (400,), seed=seed)
            tv.fit(model, images.train, epochs=epochs, batch=128, seed=seed)
        return {"elbo": elbo(model, images.test, seed).loss}

    return train


def main() -> None:
    """Seed by seed, precision by precision."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--data", default="mnist", help="a grey data set of tinyvae's list")
    chosen = options.parse_args()
    rows: list[Row] = []
    for seed in chosen.seeds:
        found = {}
        for precision in DIGITS:
            with Contestant(precision, data=chosen.data, epochs=chosen.epochs) as contestant:
                found[precision] = contestant(seed=seed)["elbo"]
            away = found[precision] - found["float32"]
            about = {"precision": precision, "digits": DIGITS[precision], "seed": seed}
            rows.append(about | {"elbo": found[precision], "away": away})
            print(f"seed {seed}, {precision}: {found[precision]:.2f} nats", file=sys.stderr)
    floors = [
        floor(f"{precision} / float32", away, ALLOWED, -ALLOWED)
        for precision in DIGITS
        if precision != "float32"
        and (away := [row["away"] for row in rows if row["precision"] == precision])
    ]
    report("precision", chosen, rows=rows, floors=floors)


def contestant(precision: str) -> Callable[..., Callable[..., Row]]:
    """A process for that precision."""
    return lambda **config: play(precision, **config)


CONTESTANTS = {precision: contestant(precision) for precision in DIGITS}

if __name__ == "__main__":
    run(main, CONTESTANTS)
