"""The competitor JAX: the same VAE, with the whole step in one compiled function."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from cases import BETA1, BETA2, EPSILON, RATE, Case
from jax.flatten_util import ravel_pytree

Layers = list[tuple[jax.Array, jax.Array]]
FLAT = 10_000  # up to so many parameters one flat vector is quicker, beyond them far slower


def dense(layers: Layers, x: jax.Array) -> jax.Array:
    """Layers with ReLUs between."""
    *inner, (weight, bias) = layers
    for w, b in inner:
        x = jax.nn.relu(x @ w + b)
    return x @ weight + bias


def cross_entropy(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Summed over the pixels, in nats."""
    return jnp.sum(jax.nn.softplus(logits) - logits * x, -1)


def negative_elbo(model: tuple[Layers, Layers], x: jax.Array, noise: jax.Array) -> jax.Array:
    """Noise is (B, K)."""
    encoder, decoder = model
    mean, log_variance = jnp.split(dense(encoder, x), 2, 1)  # (B, K)
    z = mean + jnp.exp(log_variance / 2) * noise
    kl = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance), 1)  # (B,)
    return jnp.mean(cross_entropy(dense(decoder, z), x) + kl)


def negative_iwae(model: tuple[Layers, Layers], x: jax.Array, noise: jax.Array) -> jax.Array:
    """Noise is (B, k, K)."""
    encoder, decoder = model
    mean, log_variance = jnp.split(dense(encoder, x)[:, None], 2, 2)  # (B, 1, K)
    z = mean + jnp.exp(log_variance / 2) * noise  # (B, k, K)
    log_p_x = -cross_entropy(dense(decoder, z), x[:, None])  # (B, k)
    log_p_z_to_q = 0.5 * jnp.sum(noise**2 + log_variance - z**2, 2)
    return math.log(noise.shape[1]) - jnp.mean(jax.nn.logsumexp(log_p_x + log_p_z_to_q, 1))


def trained(
    unravel: Callable[[Any], Any], state: Any, x: jax.Array, noise: jax.Array
) -> tuple[Any, jax.Array]:
    """Forward, backward and Adam."""
    model, first, second, t = state
    objective = negative_iwae if noise.ndim == 3 else negative_elbo
    loss, gradients = jax.value_and_grad(lambda p: objective(unravel(p), x, noise))(model)
    t += 1
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)

    def moved(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return p - RATE / (1 - BETA1**t) * m / (jnp.sqrt(v / (1 - BETA2**t)) + EPSILON)

    return (jax.tree.map(moved, model, first, second), first, second, t), loss


train_step = jax.jit(trained, static_argnums=0, donate_argnums=1)
"""The memory of the old state is taken for the new one."""


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def drawing_step(
    unravel: Callable[[Any], Any], shape: tuple[int, ...], state: Any, x: jax.Array
) -> tuple[Any, jax.Array]:
    """The same with noise of a key in the state."""
    *kept, key = state
    key, mine = jax.random.split(key)
    kept, loss = trained(unravel, tuple(kept), x, jax.random.normal(mine, shape, x.dtype))
    return (*kept, key), loss


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def taking_step(
    unravel: Callable[[Any], Any],
    shape: tuple[int, ...],
    state: Any,
    images: jax.Array,
    order: jax.Array,
) -> tuple[Any, jax.Array]:
    """The same on the next images of an epoch's order, counted in the state."""
    *kept, done = state
    x = images[jax.lax.dynamic_slice(order, (done,), shape[:1])]
    kept, loss = drawing_step(unravel, shape, tuple(kept), x)
    return (*kept, (done + shape[0]) % len(images)), loss


class JaxStep:
    """`train_step`, with noise from NumPy: at least as quick as keys that are split inside."""

    keeps_gradients = False  # its first mean is the gradient of the first step
    steps = 1

    def __init__(self, case: Case, weights: list[Any], x: Any, dtype: str) -> None:
        arrays = [jnp.array(array, dtype) for array in weights]
        layers = list(zip(arrays[::2], arrays[1::2], strict=True))
        model: Any = (layers[: len(case.hidden) + 1], layers[len(case.hidden) + 1 :])
        vector, unravel = ravel_pytree(model)
        self.unravel = unravel if vector.size <= FLAT else _as_it_is
        self.state = _state(vector if vector.size <= FLAT else model, dtype)
        self.x, self.dtype, self.shape = jnp.array(x, dtype), np.dtype(dtype), case.noise_shape
        self.random = np.random.default_rng(0)

    def __call__(self, noise: Any = None) -> jax.Array:
        if noise is None:
            noise = self.random.standard_normal(self.shape, self.dtype)
        self.state, loss = train_step(self.unravel, self.state, self.x, noise)
        return loss

    def wait(self) -> None:
        """A call of JAX returns before its work is done."""
        jax.block_until_ready(self.state)

    def gradients(self) -> list[Any]:
        return [first / (1 - BETA1) for first in self._arrays(self.state[1])]

    def parameters(self) -> list[Any]:
        return self._arrays(self.state[0])

    def _arrays(self, kept: Any) -> list[Any]:
        return [np.array(array) for array in jax.tree.leaves(self.unravel(kept))]


class KeyStep(JaxStep):
    """The step of a GPU: pixels stay there, noise is drawn there."""

    def __init__(self, case: Case, weights: list[Any], x: Any, dtype: str) -> None:
        super().__init__(case, weights, x, dtype)
        self.key = jax.random.key(0)

    def __call__(self, noise: Any = None) -> jax.Array:
        if noise is not None:
            return super().__call__(noise)
        (*state, self.key), loss = drawing_step(
            self.unravel, self.shape, (*self.state, self.key), self.x
        )
        self.state = tuple(state)
        return loss


def _as_it_is(model: Any) -> Any:
    return model


def _state(model: Any, dtype: str) -> tuple[Any, Any, Any, jax.Array]:
    """The parameters, both of Adam's moments, and its count of steps."""
    zeros = (jax.tree.map(jnp.zeros_like, model) for _ in range(2))
    return (model, *zeros, jnp.zeros((), dtype))
