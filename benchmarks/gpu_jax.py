"""JAX on a device, for `gpu.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # others are on the same GPU

import jax
import jax.numpy as jnp
from cases import Case
from harness import Row, peak_mb, seconds
from jax_vae import KeyStep, negative_elbo, taking_step

from tinyvae.data import load

PRODUCTS = {"float32": "highest", "tf32": "TF32_TF32_F32", "bfloat16": "BF16_BF16_F32"}


def use(device: str, precision: str) -> None:
    """What is made from now on is there, with products of this precision."""
    jax.config.update("jax_platforms", {"gpu": "cuda", "cpu": "cpu"}[device])
    jax.config.update("jax_default_matmul_precision", PRODUCTS[precision])
    jax.devices()


def about() -> Row:
    """The device and the library."""
    return {"device": jax.devices()[0].device_kind, "library": f"jax {jax.__version__}"}


def make(_name: str, case: Case, _images: int, *given: Any) -> KeyStep:
    """The contestant."""
    return KeyStep(case, *given)


def held_mb() -> float:
    """The most that this library has held, by its own count."""
    stats = jax.devices()[0].memory_stats()  # None on a CPU
    return stats.get("peak_pool_bytes", stats["peak_bytes_in_use"]) / 1e6 if stats else peak_mb()


def product(n: int, _precision: str) -> Callable[[], object]:
    """A product of n by n."""
    a, b = (jax.random.normal(jax.random.key(k), (n, n)) for k in range(2))
    multiply = jax.jit(jnp.matmul)
    return lambda: multiply(a, b)


def normals(n: int) -> Callable[[], object]:
    """So many draws from the standard normal, into the device's memory."""
    draw = jax.jit(partial(jax.random.normal, shape=(n,)))
    return partial(draw, jax.random.key(0))


def wait(result: object) -> None:
    """What was begun before it is done when it is."""
    jax.block_until_ready(result)


def mnist(_name: str, case: Case, data: str, _precision: str) -> Callable[[int, int], Row]:
    """The images stay on the device; a step takes its batch from them itself."""
    images = load(data)
    train_x, test_x = (jnp.array(part.batch(slice(None))) for part in (images.train, images.test))
    shuffle = jax.jit(partial(jax.random.permutation, x=len(train_x)))
    whole, rest = divmod(len(train_x), case.batch)
    sizes = [case.batch] * whole + [rest] * bool(rest)
    test_loss = jax.jit(negative_elbo)

    def run(seed: int, epochs: int) -> KeyStep:
        step = KeyStep(case, case.draw(seed)[0], case.draw(seed)[1], "float32")
        state = (*step.state, jax.random.key(seed), jnp.zeros((), "int32"))
        for epoch in range(epochs):
            order = shuffle(jax.random.key(1000 * seed + epoch))
            for size in sizes:
                shape = (size, case.latent)
                state, _ = taking_step(step.unravel, shape, state, train_x, order)
        step.state = state[:4]
        step.wait()
        return step

    def train(seed: int, epochs: int) -> Row:
        trained: list[KeyStep] = []
        train_s = seconds(lambda: trained.append(run(seed, epochs)))
        (step,) = trained
        noise = jax.random.normal(jax.random.key(seed), (len(test_x), case.latent))
        elbo = test_loss(step.unravel(step.state[0]), test_x, noise)
        return {"train_s": train_s, "elbo": float(elbo)}

    return train
