"""Every planted error in a whole system is caught by its oracle, which the true system passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from exact_models import gauss_hermite
from planted.estimates import gradient_of, log_density, pathwise, score_function, square
from planted.losses import objective
from planted.systems import PLANTED, PlantedSystem
from planted.training import adam_with
from planted.training_oracles import adam_as_published

import tinyvae as tv
from tinyvae.optim import Adam, AdamW

System = Callable[..., Any]
TRUE = list(dict.fromkeys((system.right, system.oracle) for system in PLANTED))
CAUGHT = {f"{system.name} - caught by {system.oracle.__name__}": system for system in PLANTED}


@pytest.mark.parametrize(("right", "oracle"), TRUE, ids=lambda system: system.__name__)
def test_the_true_system_is_as_its_oracle_says(right: System, oracle: System) -> None:
    oracle(right)


@pytest.mark.parametrize("planted", CAUGHT.values(), ids=CAUGHT.keys())
def test_a_planted_system_is_caught_by_its_oracle(planted: PlantedSystem) -> None:
    with pytest.raises(AssertionError):
        planted.oracle(planted.wrong)


def test_no_planted_system_is_there_twice() -> None:
    assert len(CAUGHT) == len(PLANTED) >= 80


@pytest.mark.parametrize("oracle", [oracle for right, oracle in TRUE if right is tv.negative_elbo])
def test_a_loss_put_together_anew_from_right_parts_is_right(oracle: System) -> None:
    oracle(objective())


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_an_optimiser_written_out_anew_with_nothing_wrong_is_right(kind: type[Adam]) -> None:
    adam_as_published(adam_with(kind))


# The score function: the expectation has a gradient, which passes through no sample


@pytest.mark.parametrize(("baseline", "variance"), [(0.0, 87.0), (5.0, 42.0), (7.0, 38.0)], ids=str)
def test_the_score_functions_variance_is_the_known_one_and_falls_with_a_baseline(
    baseline: float, variance: float
) -> None:
    # theta^4 + 14 theta^2 + 15 at 2; with the mean 5; with the best constant, 7.
    estimator = gradient_of(
        lambda m, z: (square(z.detach()) - baseline) * log_density(z.detach(), m)
    )
    assert moments(estimator) == pytest.approx((4.0, variance), rel=1e-9)


def test_the_pathwise_gradient_has_the_same_mean_and_variance_4() -> None:
    assert moments(pathwise) == pytest.approx((4.0, 4.0), rel=1e-9)
    assert moments(score_function)[0] == pytest.approx(4.0, rel=1e-9)


def moments(estimator: Callable[[float, np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Mean and variance of estimates of d E[z^2] / d theta at theta = 2, exactly."""
    noise, share = gauss_hermite(10)
    estimates = estimator(2.0, noise)
    mean = share @ estimates
    return mean, share @ (estimates - mean) ** 2
