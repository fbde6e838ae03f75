"""Bias and variance of every estimator of a gradient: on a toy, and on a VAE layer by layer.

"No gradient can pass through sampling": but the expectation has a gradient, and the score
function estimates it without a bias. Why nobody uses it as it stands, the variances say.

toy         d E[z^2] / d theta for z from N(theta, 1), which is 2 theta, at theta = 2. With
            z = theta + e the score is e, and the estimates of one sample and their variances are
              pathwise      2 z               4
              score         z^2 e             theta^4 + 14 theta^2 + 15         87
              with b        (z^2 - b) e       87 - 2 b (theta^2 + 3) + b^2
                the mean    b = E[z^2] = 5                                      42
                the best    b = E[z^2 e^2] / E[e^2] = 7                         38
              leave one out of S, which is the covariance of z^2 and e in the samples
                            58 - 16 (S - 2) / (S - 1) + 18 / (S - 1)
            by the moments of the normal, E[e^2] = 1, E[e^4] = 3, E[e^6] = 15; of the average of
            S samples the variance is given times S, as of one.

rows        A VAE that is trained a little on `digits`, one batch, and the gradient of each block
            of the encoder's parameters, again and again with new noise, S samples an image.
variance    summed over the block; against: over that of `elbo`, or of `iwae` for those of the bound
bias        along the true gradient, as a part of it, from that of `stl`, or of `dreg` for those
            of the bound, which have the least noise; error: its standard error. `iwae-stl` has one
constants   of the baselines: the mean cost, and the best constant that there is for the encoder
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from estimators_picture import picture
from harness import Row, floor, parser, report, run

import tinyvae as tv
from tinyvae.objectives import OBJECTIVES
from tinyvae.objectives.score import leave_one_out, score_function, score_terms

THETA, CHUNK = 2.0, 1 << 18
Estimates = Callable[[np.ndarray], np.ndarray]
"""Of noise (N,) the estimates of a gradient, one for each group of samples."""

# The toy


def pathwise(noise: np.ndarray) -> np.ndarray:
    """Through the sample."""
    theta = tv.Tensor(np.full_like(noise, THETA), requires_grad=True)
    z = tv.gaussian_sample(theta, 0 * theta.detach(), tv.Tensor(noise))
    (z * z).sum().backward()
    return np.asarray(theta.grad)


def by_the_score(noise: np.ndarray, group: int = 1, baseline: Any = 0.0) -> np.ndarray:
    """Through log q; the average of each group of samples, whose baseline is a function of all."""
    theta = tv.Tensor(np.full((len(noise) // group, group, 1), THETA), requires_grad=True)
    z = tv.Tensor.wrap(THETA + noise.reshape(theta.shape))
    cost, log_q = (z * z).sum(axis=2), tv.gaussian_log_likelihood(z, theta, 0.0)
    taken = baseline(cost) if callable(baseline) else baseline
    score_function(cost, cost - taken, log_q).sum().backward()
    return np.asarray(theta.grad).mean(axis=(1, 2))


of_others = partial(partial, by_the_score, baseline=leave_one_out)
TOY: dict[str, tuple[Estimates, int, float]] = {
    "pathwise": (pathwise, 1, 4),
    "score": (by_the_score, 1, 87),
    "score, baseline the mean": (partial(by_the_score, baseline=5.0), 1, 42),
    "score, baseline the best constant": (partial(by_the_score, baseline=7.0), 1, 38),
    "score, leave one out of 2": (of_others(group=2), 2, 58 + 18),
    "score, leave one out of 8": (of_others(group=8), 8, 58 - 16 * 6 / 7 + 18 / 7),
}
"""What estimates, from how many samples, and S times its variance."""


def toy(samples: int, seed: int) -> Iterator[Row]:
    """A row for every estimator, from so many samples."""
    for name, (estimates, group, exact) in TOY.items():
        noise = tv.Noise(seed, name, backend="numpy")
        parts = [estimates(noise.normal((CHUNK,), "float64")) for _ in range(samples // CHUNK)]
        found = np.concatenate(parts)
        variance = group * float(found.var())
        yield {"estimator": name, "exact": float(exact), "variance": variance} | {
            "ratio": variance / exact,
            "bias": float(found.mean() - 2 * THETA),
            "error": float(found.std() / np.sqrt(len(found))),
        }


# The VAE


class Batch:
    """A trained VAE and the images whose gradient is estimated, in float64."""

    def __init__(self, options: argparse.Namespace) -> None:
        data = tv.data.load("digits")
        self.model = tv.VAE(data.image_shape, latent=8, hidden=(64,), seed=options.seed)
        tv.fit(self.model, data.train, epochs=options.epochs, batch=64, seed=options.seed)
        self.model.to(dtype="float64")
        self.x = data.valid.batch(slice(0, options.batch), dtype="float64")
        self.samples, self.seed = options.samples_an_image, options.seed
        self.blocks = dict(self.model.encoder.named_parameters("encoder."))

    def noises(self, purpose: str, draws: int) -> Iterator[Any]:
        """Noise (B, S, K), again and again."""
        noise = tv.Noise(self.seed, purpose, backend="numpy")
        shape = (len(self.x), self.samples, self.model.latent)
        return (noise.normal(shape, "float64") for _ in range(draws))

    def gradients(self, objective: Any, noises: Iterator[Any]) -> Iterator[tuple[float, Any]]:
        """The loss, and the gradient of each block, (P,), for each noise."""
        x, parameters = tv.Tensor(self.x), self.model.parameters()
        loss = tv.Replay(lambda noise: objective(self.model, x, noise).loss, parameters)
        for noise in noises:
            for parameter in parameters:
                parameter.zero_grad()
            value = loss(noise).item()
            yield value, {k: p.grad.copy().ravel() for k, p in self.blocks.items()}


def best_constant(batch: Batch, draws: int) -> dict[str, float]:
    """The mean cost, and the b for which the encoder's gradient A - b C varies least."""
    without, one = (
        list(batch.gradients(partial(score_terms, baseline=b), batch.noises("pilot", draws)))
        for b in (0.0, 1.0)
    )
    A, A_less_C = (np.stack([np.concatenate([*g.values()]) for _, g in found])
                   for found in (without, one))  # fmt: skip
    C = A - A_less_C  # (R, P); its expectation is 0
    best = ((A - A.mean(axis=0)) * C).sum() / (C * C).sum()
    return {"mean": float(np.mean([loss for loss, _ in without])), "best": float(best)}


def estimators(constants: dict[str, float]) -> dict[str, dict[str, Any]]:
    """By what they estimate."""
    scores = {f"score, {k}": partial(score_terms, baseline=b) for k, b in constants.items()}
    names = {"ELBO": ("elbo", "elbo-mc", "stl", "score"), "bound": ("iwae", "dreg")}
    made = {of: {name: OBJECTIVES[name] for name in each} for of, each in names.items()}
    made["ELBO"] |= scores | {"score-loo": OBJECTIVES["score-loo"]}
    made["bound"] |= {name: OBJECTIVES[name] for name in ("iwae-stl", "vimco")}
    return made


class Block:
    """The moments of one block's gradient, and of its part along a direction."""

    def __init__(self, along: np.ndarray | None = None) -> None:
        self.count, self.sum, self.squares, self.along = 0, 0.0, 0.0, along
        self.parts: list[float] = []

    def add(self, gradient: np.ndarray) -> None:
        """One more draw."""
        self.count, self.sum = self.count + 1, self.sum + gradient
        self.squares = self.squares + gradient**2
        if self.along is not None:
            self.parts.append(float(gradient @ self.along))

    @property
    def mean(self) -> Any:
        """(P,)."""
        return self.sum / self.count

    @property
    def variance(self) -> float:
        """Summed over the block."""
        return float((self.squares / self.count - self.mean**2).sum())


def moments(
    batch: Batch, objective: Any, noises: Iterator[Any], along: dict[str, Any]
) -> dict[str, Block]:
    """Of every block, from all this noise."""
    blocks = {name: Block(along.get(name)) for name in batch.blocks}
    for _, gradient in batch.gradients(objective, noises):
        for name, block in blocks.items():
            block.add(gradient[name])
    return blocks


USUAL = {"ELBO": "elbo", "bound": "iwae"}  # whose variance the others' is compared with,
QUIET = {"ELBO": "stl", "bound": "dreg"}  # and whose mean


def layers(batch: Batch, draws: int, made: dict[str, dict[str, Any]]) -> Iterator[Row]:
    """A row for every estimator and block."""
    for of, each in made.items():
        pilot = moments(batch, each[QUIET[of]], batch.noises(f"{of} direction", draws), {})
        along = {name: b.mean / (b.mean @ b.mean) for name, b in pilot.items()}
        found = {
            name: moments(batch, objective, batch.noises(name, draws), along)
            for name, objective in each.items()
        }
        for name, blocks in found.items():
            for key, block in blocks.items():
                others = (found[table[of]][key] for table in (USUAL, QUIET))
                row = {"of": of, "estimator": name, "block": key}
                yield row | compared(block, *others)


def compared(block: Block, usual: Block, quiet: Block) -> Row:
    """Its variance beside the usual one's, and its bias, with the standard error of both means."""
    error = np.sqrt(sum(np.var(b.parts) / b.count for b in (block, quiet)))
    return {
        "variance": block.variance,
        "against": block.variance / usual.variance,
        "bias": float(np.mean(block.parts) - np.mean(quiet.parts)),
        "error": float(error) if block is not quiet else 0.0,
    }


# The benchmark


def floors(found: list[Row], rows: list[Row]) -> Iterator[Row]:
    """What is promised."""
    for row in found:
        name = f"toy, {row['estimator']}"
        yield floor(f"{name}: variance over the exact one", [row["ratio"]], 1.02, 0.98)
        yield floor(f"{name}: bias in standard errors", [abs(row["bias"]) / row["error"]], 4)
    for name in dict.fromkeys(row["estimator"] for row in rows if row["error"]):
        worst = max(abs(r["bias"]) / r["error"] for r in rows if r["estimator"] == name)
        if name != "iwae-stl":  # which has one
            yield floor(f"VAE, {name}: largest bias in standard errors", [worst], 4)


def main() -> None:
    """The toy, the VAE, and the picture."""
    options = parser(__doc__)
    options.add_argument("--toy-samples", type=int, default=1 << 23, help="default: %(default)s")
    options.add_argument("--draws", type=int, default=2000, help="of the noise of a batch")
    options.add_argument("--samples-an-image", type=int, default=8, help="S; from 2 up")
    options.add_argument("--epochs", type=int, default=20, help="of training beforehand")
    options.add_argument("--batch", type=int, default=32, help="images whose gradient it is")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    found = list(toy(max(chosen.toy_samples, CHUNK), chosen.seed))
    batch = Batch(chosen)
    constants = best_constant(batch, max(2, chosen.draws // 4))
    rows = list(layers(batch, chosen.draws, estimators(constants)))
    kept = list(floors(found, rows))
    path = report("estimators", chosen, toy=found, rows=rows, constants=[constants], floors=kept)
    tv.plots.save(picture(found, rows), path.with_suffix(".png"))


if __name__ == "__main__":
    run(main)
