"""Models whose log p(x) is known: a linear one with Gaussian pixels, and one to enumerate.

What is known of them is computed here by NumPy and SciPy alone, and not by the package, so that
the package can be held to it. All is in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import tinyvae as tv

LOG_2_PI = np.log(2 * np.pi)
Weights = dict[str, np.ndarray]


def product_rule(nodes: np.ndarray, weights: np.ndarray, axes: int) -> tuple[Any, Any]:
    """Nodes (N^axes, axes) and weights, from those of one axis."""
    grid = np.array(list(itertools.product(nodes, repeat=axes)))
    return grid, np.array([np.prod(w) for w in itertools.product(weights, repeat=axes)])


def gauss_hermite(count: int, axes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noise and weights for expectations under N(0, I): exact up to degree 2 count - 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return product_rule(nodes, weights / weights.sum(), axes)


def trapezoid(width: float, step: float, axes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The same for functions that are no polynomials: an even grid of the standard normal."""
    nodes = np.arange(-width, width + step / 2, step)
    return product_rule(nodes, step * np.exp(-(nodes**2 + LOG_2_PI) / 2), axes)


def complex_step(function: Callable[..., Any], *points: np.ndarray) -> list[np.ndarray]:
    """The gradient of an analytic function for each argument, without a difference."""
    gradients = [np.empty(point.shape) for point in points]
    for k, point in enumerate(points):
        for index in np.ndindex(point.shape):
            moved = point.astype(complex)
            moved[index] += 1e-30j
            gradients[k][index] = function(*points[:k], moved, *points[k + 1 :]).imag / 1e-30
    return gradients


# Gaussian pixels


@dataclass(frozen=True)
class LinearGaussian:
    """x = W z + b + sigma e, with z and e from the standard normal.

    W is (D, K), b is (D,). p(x) is N(b, W W' + sigma^2 I), and p(z | x) is Gaussian, too; its
    covariance is diagonal if the columns of W are at right angles.
    """

    W: np.ndarray
    b: np.ndarray
    log_variance: np.ndarray

    @classmethod
    def random(cls, pixels: int = 5, latent: int = 2, skew: float = 0.0) -> LinearGaussian:
        """With columns of W at right angles, unless ``skew``ed."""
        draws = np.random.default_rng(0)
        columns = np.linalg.qr(draws.normal(size=(pixels, latent)))[0]
        W = columns * np.linspace(0.7, 1.6, latent)
        W[:, 0] += skew * W[:, -1]
        return cls(W, draws.normal(size=pixels), np.array(-0.8))

    def sample(self, count: int) -> np.ndarray:
        """Images (N, D)."""
        draws = np.random.default_rng(1)
        z = draws.normal(size=(count, self.W.shape[1]))
        e = draws.normal(size=(count, len(self.b)))
        return z @ self.W.T + self.b + np.exp(self.log_variance / 2) * e

    def log_evidence(self, x: np.ndarray) -> Any:
        """log p(x) by the marginal Gaussian, (N,); analytic in the parameters."""
        covariance = self.W @ self.W.T + np.exp(self.log_variance) * np.eye(len(self.b))
        r = x - self.b  # (N, D)
        distance = (r * np.linalg.solve(covariance, r.T).T).sum(axis=1)
        return -(distance + np.log(np.linalg.det(covariance)) + len(self.b) * LOG_2_PI) / 2

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (N, K) and covariance (K, K) of p(z | x)."""
        v = np.exp(self.log_variance)
        covariance = np.linalg.inv(np.eye(self.W.shape[1]) + self.W.T @ self.W / v)
        return (x - self.b) @ self.W @ covariance / v, covariance

    def diagonal_posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log variance, each (N, K), of p(z | x) where its covariance is diagonal."""
        mean, covariance = self.posterior(x)
        return mean, np.broadcast_to(np.log(np.diag(covariance)), mean.shape).copy()

    def evidence_gradients(self, x: np.ndarray) -> list[np.ndarray]:
        """Of the sum of log p(x), for W, b and log sigma^2."""
        return complex_step(
            lambda W, b, s: replace(self, W=W, b=b, log_variance=s).log_evidence(x).sum(),
            self.W,
            self.b,
            self.log_variance,
        )


def kl_to_full(
    mean: np.ndarray, log_variance: np.ndarray, other: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """KL of diagonal Gaussians (N, K) to ones with a full covariance, by its matrix formula."""
    precision, r = np.linalg.inv(covariance), mean - other
    trace = (np.diag(precision) * np.exp(log_variance)).sum(axis=1)
    distance = np.einsum("nk,kl,nl->n", r, precision, r)
    logs = np.linalg.slogdet(covariance)[1] - log_variance.sum(axis=1)
    return (trace + distance - mean.shape[1] + logs) / 2


# Bernoulli pixels


def all_images(pixels: int) -> np.ndarray:
    """Every black and white image, (2^D, D)."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=pixels)))


def small_vae(image_shape: tuple[int, ...] = (1, 3), latent: int = 1) -> tv.VAE:
    """A VAE in float64 with weights far from those it begins with, biases included."""
    model = tv.VAE(image_shape, latent=latent, hidden=(3,), activation="tanh").to(dtype="float64")
    draws = np.random.default_rng(1)
    state = model.state_dict()
    model.load_state_dict({n: draws.standard_normal(p.shape) / 2 for n, p in state.items()})
    return model


def network(weights: Weights, part: str, rows: np.ndarray) -> np.ndarray:
    """The encoder or decoder of `small_vae`, on the host."""
    first, last = (f"{part}.layers.{k}" for k in (0, 2))
    hidden = np.tanh(rows @ weights[f"{first}.weight"] + weights[f"{first}.bias"])
    return hidden @ weights[f"{last}.weight"] + weights[f"{last}.bias"]


def log_normal(z: np.ndarray, mean: Any = 0.0, variance: Any = 1.0) -> np.ndarray:
    """log N(z; mean, variance) of rows (..., K), summed over the last axis."""
    return -((z - mean) ** 2 / variance + np.log(variance) + LOG_2_PI).sum(axis=-1) / 2


@dataclass(frozen=True)
class Enumerated:
    """What is known of `small_vae` from its weights, with z on a grid of the standard normal.

    Attributes
    ----------
    weights : dict
        Of the model, by name.
    z, share : (N, K), (N,)
        The grid and the weights of its nodes.
    """

    weights: Weights
    z: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, model: tv.VAE) -> Enumerated:
        """From a model with one or two latent dimensions."""
        return cls(model.state_dict(), *trapezoid(9, 0.15 * model.latent, model.latent))

    def pixels(self) -> np.ndarray:
        """The probability that each pixel is white, at the nodes, (N, D)."""
        return 1 / (1 + np.exp(-network(self.weights, "decoder", self.z)))

    def likelihood(self, x: np.ndarray) -> np.ndarray:
        """p(x | z) at the nodes, (N,); analytic in the weights."""
        return np.prod(np.where(x == 1, self.pixels(), 1 - self.pixels()), axis=1)

    def log_evidence(self, x: np.ndarray) -> Any:
        """log p(x) of one image."""
        return np.log(self.share @ self.likelihood(x))

    def posterior(self, x: np.ndarray) -> np.ndarray:
        """p(z | x) as weights of the nodes, which sum to 1."""
        joint = self.share * self.likelihood(x)
        return joint / joint.sum()

    def encoded(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of q(z | x), each (K,)."""
        mean, log_variance = np.split(network(self.weights, "encoder", x[None])[0], 2)
        return mean, np.exp(log_variance)

    def log_weights(self, x: np.ndarray) -> Any:
        """log p(x, z) - log q(z | x) of one image at the nodes of q's grid, (N,)."""
        mean, variance = self.encoded(x)
        of_q = replace(self, z=mean + np.sqrt(variance) * self.z)
        log_joint = np.log(of_q.likelihood(x)) + log_normal(of_q.z)
        return log_joint - log_normal(of_q.z, mean, variance)

    def gap(self, x: np.ndarray) -> Any:
        """KL(q(z | x) || p(z | x)) of one image, by its definition."""
        return self.share @ (self.log_evidence(x) - self.log_weights(x))

    def bound_of_two(self, x: np.ndarray) -> Any:
        """The expectation of log((w_1 + w_2) / 2) over two importance weights."""
        w = np.exp(self.log_weights(x))
        return self.share @ np.log((w[:, None] + w) / 2) @ self.share

    def evidence_gradients(self, x: np.ndarray) -> Weights:
        """Of log p(x), for every weight, by differentiating the quadrature."""
        return self._gradients(lambda model: model.log_evidence(x))

    def elbo_gradients(self, x: np.ndarray) -> Weights:
        """Of log p(x) - KL(q(z | x) || p(z | x)), for every weight, in the same way."""
        return self._gradients(lambda model: model.log_evidence(x) - model.gap(x))

    def bound_gradients(self, x: np.ndarray) -> Weights:
        """Of `bound_of_two`, in the same way."""
        return self._gradients(lambda model: model.bound_of_two(x))

    def _gradients(self, function: Callable[[Enumerated], Any]) -> Weights:
        def of_values(*values: np.ndarray) -> Any:
            weights = dict(zip(self.weights, values, strict=True))
            return function(replace(self, weights=weights))

        found = complex_step(of_values, *self.weights.values())
        return dict(zip(self.weights, found, strict=True))
