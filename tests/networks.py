"""Networks and models that hypothesis makes: small, of any widths, activation and seed."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import numpy as np
from comparison import pixels
from hypothesis import strategies as st

import tinyvae as tv
from tinyvae.autograd import OPS
from tinyvae.nn import ACTIVATIONS, Module
from tinyvae.objectives import Terms, negative_elbo
from tinyvae.objectives.elbo import PLAIN

M = TypeVar("M", bound=Module)
seeds = st.integers(0, 2**32 - 1)
widths = st.lists(st.integers(1, 9), min_size=2, max_size=5).map(tuple)
RATE, EPSILON = 0.01, 1e-4  # of Adam; far above round-off, of which it would make whole steps


def in_float64(module: M, seed: int) -> M:
    """The module with biases that are not 0, so that what becomes of them is seen."""
    rng, state = np.random.default_rng(seed), module.to(dtype="float64").state_dict()
    biases = {name: rng.normal(0, 0.3, b.shape) for name, b in state.items() if b.ndim == 1}
    module.load_state_dict(state | biases)
    return module


def network(sizes: tuple[int, ...], activation: str, seed: int) -> tv.Sequential:
    """An MLP, and another dense layer behind one more activation."""
    noise, act = tv.Noise(seed), OPS[activation]
    mlp = tv.MLP(sizes, noise, activation)
    return in_float64(tv.Sequential(mlp, act, tv.Dense(sizes[-1], 3, noise)), seed)


class Step(NamedTuple):
    """A VAE, a batch, and the loss on it."""

    image_shape: tuple[int, ...]
    latent: int
    hidden: tuple[int, ...]
    activation: str
    images: int
    beta: float
    free_bits: float
    seed: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the encoder; the last is that of the mean and the log variance together."""
        return (math.prod(self.image_shape), *self.hidden, 2 * self.latent)

    @property
    def widths_back(self) -> tuple[int, ...]:
        """Of the decoder."""
        return (self.latent, *self.hidden[::-1], math.prod(self.image_shape))

    def model(self) -> tv.VAE:
        return in_float64(tv.VAE(*self[:4], seed=self.seed), self.seed)

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (B, D), and noise (B, K)."""
        rng = np.random.default_rng(self.seed)
        x = pixels(rng, (self.images, self.widths[0]))
        return x, rng.standard_normal((self.images, self.latent))

    def loss(self, model: tv.VAE) -> Terms:
        x, noise = map(model.backend.from_host, self.batch())
        return negative_elbo(model, tv.Tensor.wrap(x), noise, self.beta, self.free_bits)


steps = st.builds(
    Step,
    image_shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    latent=st.integers(1, 4),
    hidden=st.lists(st.integers(1, 9), max_size=3).map(tuple),
    activation=st.sampled_from(ACTIVATIONS),
    images=st.integers(1, 6),
    beta=st.sampled_from([1.0, 0.5, 4.0]),
    free_bits=st.sampled_from([0.0, 0.1]),
    seed=seeds,
)
FULL_SIZE = Step((28, 28), 20, (400,), "relu", 64, 1.0, 0.0, seed=0)


def log_ratio(z: tv.Tensor, mean: tv.Tensor, log_variance: tv.Tensor) -> tv.Tensor:
    """log p(z) - log q(z | x) of the plain VAE's prior and posterior, (B,)."""
    log_prior = PLAIN.prior.log_prob(z, lambda x: (x,))
    return log_prior - tv.gaussian_log_likelihood(z, mean, log_variance)
