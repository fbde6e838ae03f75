"""Models whose log p(x) is known, with other parts than the plain VAE's.

The decoder is linear and the pixels are Gaussian, x = W z + b + sigma e; so p(x) is Gaussian, or
a mixture of Gaussians if p(z) is one. All that is known is computed by NumPy and SciPy alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import tinyvae as tv
from tinyvae.backend import Backend

RNG = np.random.default_rng(0)
W, B, SIGMA = RNG.normal(size=(5, 2)), RNG.random(5), 0.5  # columns that are not at right angles
X = RNG.random((4, 5))


def linear(**parts: Any) -> tv.VAE:
    """A VAE without hidden layers, and with that decoder."""
    vae = tv.VAE((1, 5), 2, (), likelihood=f"gaussian:{SIGMA}", **parts).to(dtype="float64")
    put(vae, **{"decoder.layers.0.weight": W.T, "decoder.layers.0.bias": B})
    return vae


def put(vae: tv.VAE, **values: np.ndarray) -> None:
    vae.load_state_dict(vae.state_dict() | values)


def true_posterior() -> tuple[np.ndarray, np.ndarray]:
    """The matrix G of E[z | x] = G (x - b), and the covariance of p(z | x)."""
    covariance = np.linalg.inv(np.eye(2) + W.T @ W / SIGMA**2)
    return covariance @ W.T / SIGMA**2, covariance


def log_weights(vae: tv.VAE, samples: int = 6) -> np.ndarray:
    noise = tv.Tensor(RNG.normal(size=(len(X), samples, vae.posterior.noise_width))).array
    return tv.log_weights(vae, tv.Tensor(X), noise).numpy()


def test_under_the_true_posterior_of_full_covariance_every_weight_is_the_evidence(
    backend: Backend,
) -> None:
    vae, (G, covariance) = linear(posterior="full"), true_posterior()
    A = np.linalg.cholesky(covariance)
    bias = [*(-G @ B), *np.log(np.diag(A)), A[1, 0]]
    weight = np.concatenate([G.T, np.zeros((5, 3))], axis=1)
    put(vae, **{"encoder.layers.0.weight": weight, "encoder.layers.0.bias": np.array(bias)})
    evidence = multivariate_normal(B, W @ W.T + SIGMA**2 * np.eye(5)).logpdf(X)
    np.testing.assert_allclose(log_weights(vae), np.tile(evidence[:, None], 6), rtol=1e-10)


def test_a_diagonal_gaussian_of_the_same_moments_is_not_the_true_posterior() -> None:
    vae, (G, covariance) = linear(), true_posterior()
    weight = np.concatenate([G.T, np.zeros((5, 2))], axis=1)
    bias = np.concatenate([-G @ B, np.log(np.diag(covariance))])
    put(vae, **{"encoder.layers.0.weight": weight, "encoder.layers.0.bias": bias})
    assert log_weights(vae).std(axis=1).min() > 0.01


@pytest.mark.parametrize("posterior", ["gaussian", "laplace", "mixture:2", "planar:2", "iaf:2"])
def test_importance_sampling_finds_the_evidence_under_a_mixture_prior(posterior: str) -> None:
    vae = linear(posterior=posterior, prior="mixture:3")
    logits, means, logs = RNG.normal(size=3), RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2)) / 2
    put(vae, **{"prior.logits": logits, "prior.means": means, "prior.log_variances": logs})
    each = [
        w + multivariate_normal(W @ m + B, W * np.exp(v) @ W.T + SIGMA**2 * np.eye(5)).logpdf(X)
        for w, m, v in zip(logits - logsumexp(logits), means, logs, strict=True)
    ]
    images = X.reshape(-1, 1, 5).astype("float32")
    found = tv.log_likelihood(vae, images, samples=20_000)
    away = abs(found.per_image - logsumexp(each, axis=0))
    assert (away < 5 * found.standard_errors + 1e-3).all()
    assert (found.standard_errors < 0.2).all()
