"""What the estimators must be, in expectation and at the true posterior, with no luck in it.

The noise is integrated out: the expectation of an estimator's gradient is compared with the exact
gradient of its bound, which is got by differentiating a quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from exact_models import LinearGaussian, trapezoid

import tinyvae as tv
from planted.loss_oracles import (
    IMAGES,
    assert_gradients,
    bound_gradients,
    exact,
    gradients_of,
    vae,
)
from tinyvae.distributions import Bernoulli
from tinyvae.objectives import Terms

Objective = Callable[..., Terms]
"""Of a model, pixels (B, D) and noise (B, S, K)."""

PAIRS, SHARE = trapezoid(9, 0.2, 2)  # of two samples of one dimension


def expected(objective: Objective, x: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """The expectation of the loss of one image with two samples, and of its gradient by weight."""
    model, rows, share = vae(1), tv.Tensor(np.tile(x, (len(PAIRS), 1))), tv.Tensor(SHARE)
    model.weigh = lambda found, beta=1.0: (share * (found.reconstruction + beta * found.kl)).sum()
    loss = objective(model, rows, PAIRS[:, :, None]).loss
    loss.backward()
    return loss.item(), gradients_of(model)


def negated(gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: -gradient for name, gradient in gradients.items()}


def the_expected_gradient_is_that_of_the_elbo(objective: Objective) -> None:
    for x in IMAGES:
        loss, gradients = expected(objective, x)
        assert loss == pytest.approx(exact(1).gap(x) - exact(1).log_evidence(x), abs=1e-8)
        assert_gradients(gradients, negated(exact(1).elbo_gradients(x)))


def the_expected_gradient_is_that_of_the_bound_of_two(objective: Objective) -> None:
    for x in IMAGES:
        loss, gradients = expected(objective, x)
        assert loss == pytest.approx(-exact(1).bound_of_two(x), abs=1e-8)
        assert_gradients(gradients, negated(bound_gradients(tuple(x))))


# At the true posterior, where every weight is p(x)

LINEAR = LinearGaussian.random()
X = LINEAR.sample(3)


class Pixels(Bernoulli):
    """Gaussian ones, in the place of black and white ones."""

    def cross_entropy(self, output: tv.Tensor, x: tv.Tensor) -> tv.Tensor:
        return -tv.gaussian_log_likelihood(x, output, float(LINEAR.log_variance))


def linear_model() -> Any:
    """With the true posterior of each image as its encoder's parameters."""
    q = tuple(tv.Tensor(part, requires_grad=True) for part in LINEAR.diagonal_posterior(X))
    W, b = (tv.Tensor(part, requires_grad=True) for part in (LINEAR.W.T, LINEAR.b))
    likelihood = Pixels(5, tv.Noise(0))
    return SimpleNamespace(
        encode=lambda x: q, decode=lambda z: tv.affine(z, W, b), likelihood=likelihood, q=q
    )


def every_sample_lands(objective: Objective) -> None:
    """No draw leaves the encoder a gradient, and every loss is -log p(x)."""
    for seed in range(3):
        model, noise = linear_model(), np.random.default_rng(seed).standard_normal((3, 4, 2))
        terms = objective(model, tv.Tensor(X), noise)
        terms.loss.backward()
        told = (terms.reconstruction + terms.kl).numpy()
        np.testing.assert_allclose(told, -LINEAR.log_evidence(X), rtol=1e-12)
        for parameter in model.q:
            assert abs(parameter.grad).max() < 1e-12
