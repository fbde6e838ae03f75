"""Wrong estimators: of the gradient of the ELBO and of the bound of many samples.

In most of them the value is right, which is what is logged; and the gradient is not the
derivative of the value in the right ones either. So it is the expectation that tells.
"""

from __future__ import annotations

from typing import Any

import tinyvae as tv
from planted.estimator_oracles import (
    Objective,
    every_sample_lands,
    the_expected_gradient_is_that_of_the_bound_of_two,
    the_expected_gradient_is_that_of_the_elbo,
)
from planted.system import PlantedSystem, where
from tinyvae.objectives import OBJECTIVES, importance, samples
from tinyvae.objectives import score as scores
from tinyvae.objectives.importance import Again
from tinyvae.objectives.samples import Samples, take_samples
from tinyvae.objectives.score import leave_one_out

elbo_mc, stl, iwae, dreg, score, score_loo, vimco = (
    OBJECTIVES[name] for name in ("elbo-mc", "stl", "iwae", "dreg", "score", "score-loo", "vimco")
)


def taking(module: Any, function: Objective, **changed: Any) -> Objective:
    """The objective with samples that are taken in another way."""

    def wrong(
        model: Any, x: tv.Tensor, noise: Any, hold_q: bool = False, through: Any = None
    ) -> Samples:
        options = {"hold_q": hold_q, "through": through} | changed
        return take_samples(model, x, noise, **options)

    return where(module, "take_samples", wrong, function)


def with_bound(module: Any, bound: Any, function: Objective) -> Objective:
    return where(module, "importance_bound", bound, function)


def again(factor: Any) -> Objective:
    """`dreg` with another factor on the way back to each code."""

    def times(self: Again, z: Any) -> tuple[Any, Any]:
        return z.copy(), lambda g: g * factor(self.weights.reshape(-1, 1))

    return where(Again, "times_weights", times, dreg)


def own_mean(costs: tv.Tensor) -> tv.Tensor:
    """The mean of all samples, the own one among them."""
    return costs.detach().mean(axis=1, keepdims=True) + 0 * costs.detach()


def own_bound(log_weights: tv.Tensor) -> tv.Tensor:
    """For every sample the bound with its own weight, less a little."""
    return tv.importance_bound(log_weights.detach())[:, None] * 0.9 + 0 * log_weights.detach()


def without_score(value: tv.Tensor, signal: tv.Tensor, log_q: tv.Tensor) -> tv.Tensor:
    return value


def against_it(value: tv.Tensor, signal: tv.Tensor, log_q: tv.Tensor) -> tv.Tensor:
    """The score with the other sign."""
    return value - signal.detach() * samples.only_gradient(log_q)


def with_baseline(name: str, baseline: Any, function: Objective) -> Objective:
    return where(scores, name, baseline, function)


def mean_weight(log_weights: tv.Tensor) -> tv.Tensor:
    return log_weights.mean(axis=1)


Entry = tuple[str, str, Objective, Objective]
"""What is wrong, where such an error has been seen, the wrong objective and the right one."""

ELBO: list[Entry] = [
    (
        "codes that are held",
        "no gradient can pass",
        taking(importance, elbo_mc, through=tv.Tensor.detach),
        elbo_mc,
    ),
    (
        "the path besides the score",
        "a sample not detached",
        taking(scores, score, through=None),
        score,
    ),
    (
        "the score's sign",
        "a reward for a cost",
        where(scores, "score_function", against_it, score),
        score,
    ),
    (
        "the score left out",
        "no gradient can pass",
        where(scores, "score_function", without_score, score),
        score,
    ),
    (
        "a baseline that has the own sample",
        "the mean of all",
        with_baseline("leave_one_out", own_mean, score_loo),
        score_loo,
    ),
    (
        "the others' sum for their mean, of all",
        "a baseline with the own sample",
        with_baseline("leave_one_out", lambda c: own_mean(c) * c.shape[1], score_loo),
        score_loo,
    ),
    (
        "the reconstruction alone for a cost",
        "a KL in closed form that is none",
        where(scores, "_cost", lambda s, beta: s.reconstruction.detach(), score_loo),
        score_loo,
    ),
]
BOUND: list[Entry] = [
    (
        "the weights' sign",
        "the IWAE weights' sign",
        with_bound(importance, lambda w: -tv.importance_bound(-w), iwae),
        iwae,
    ),
    (
        "the mean of the logarithms",
        "a VAE of k samples",
        with_bound(importance, mean_weight, iwae),
        iwae,
    ),
    (
        "log k left out",
        "log-sum-exp without log k",
        with_bound(importance, tv.logsumexp, iwae),
        iwae,
    ),
    (
        "the parameters of q held",
        "sticking the landing of weights",
        taking(importance, iwae, hold_q=True),
        iwae,
    ),
    (
        "codes that are held",
        "no gradient can pass",
        taking(importance, iwae, through=tv.Tensor.detach),
        iwae,
    ),
    ("weights not squared", "a plain IWAE gradient", again(lambda v: 1 + 0 * v), dreg),
    ("weights to the third", "squared twice", again(lambda v: v * v), dreg),
    ("1 - v for v", "Tucker's other term", again(lambda v: 1 - v), dreg),
    ("q not held", "one detach too few", taking(importance, dreg, hold_q=False), dreg),
    ("weights of uniform size", "an average", again(lambda v: 0.5 + 0 * v), dreg),
    (
        "the own sample in its baseline",
        "the bound itself",
        with_baseline("leave_one_out_bound", own_bound, vimco),
        vimco,
    ),
    (
        "a signal of the other sign",
        "a reward for a cost",
        where(scores, "only_gradient", lambda q: -samples.only_gradient(q), vimco),
        vimco,
    ),
    (
        "the weights' gradient left out",
        "REINFORCE of the bound",
        with_bound(scores, lambda w: tv.importance_bound(w.detach()), vimco),
        vimco,
    ),
    (
        "the path besides the score",
        "a sample not detached",
        taking(scores, vimco, through=None),
        vimco,
    ),
    (
        "the mean of the logarithms",
        "a VAE of k samples",
        with_bound(scores, mean_weight, vimco),
        vimco,
    ),
]
LANDING: list[Entry] = [
    ("q not held at the landing", "one detach too few", taking(importance, stl, hold_q=False), stl),
    (
        "q not held at the landing of many",
        "one detach too few",
        taking(importance, dreg, hold_q=False),
        dreg,
    ),
    (
        "no baseline at all",
        "a score by itself",
        with_baseline("leave_one_out", lambda c: 0 * c.detach(), score_loo),
        score_loo,
    ),
    (
        "the neighbour's cost alone",
        "one other for all",
        with_baseline("leave_one_out", lambda c: leave_one_out(c) * 1.001, score_loo),
        score_loo,
    ),
]

ESTIMATORS: list[PlantedSystem] = [
    PlantedSystem(f"{right.__name__}: {name}", source, wrong, right, oracle)
    for oracle, errors in (
        (the_expected_gradient_is_that_of_the_elbo, ELBO),
        (the_expected_gradient_is_that_of_the_bound_of_two, BOUND),
        (every_sample_lands, LANDING),
    )
    for name, source, wrong, right in errors
]
