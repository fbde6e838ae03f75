"""The rule of Adam, the clipping of gradients and the care of an optimiser, gone wrong."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from planted_backend.planting import Planted, an_adam, in_a_step, planted_in
from tinyvae import optim, training
from tinyvae import trainer as loop
from tinyvae.autograd.ops import namespace
from tinyvae.backend import Array, numpy_kernels
from tinyvae.optim import Optimiser

ERRORS: list[Planted] = []
planted = partial(planted_in, ERRORS)
CLIPPED = in_a_step(optim.clip_global_norm, loop, "clip_global_norm", clip=0.1)


def step_of(g: Array, m: Array, v: Array, c: Array, settings: dict[str, Any]) -> Array:
    """Adam's two sums brought up to date, and how far the parameters are to move."""
    m *= settings["beta1"]
    m += g
    v *= settings["beta2"]
    v += g * g
    return c[0] * m / (v**0.5 + c[1])


# The rule


@planted(an_adam(), "NumPy operand", "a NumPy float64 does not mix")
def sums_with_a_root_of_numpys(p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any) -> None:
    step_of(g, m, v, c, s)
    p -= c[0] * m / (np.sqrt(1.0) * v**0.5 + c[1])


@planted(an_adam(), "float64", "float64.* cast with")
def constants_in_float64(p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any) -> None:
    optim.adam(p, g, m, v, namespace(p).asarray(c), **s)


@planted(an_adam(), "float64", "float64.* cast with")
def step_gathered_in_zeros(p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any) -> None:
    step = namespace(p).zeros(p.shape)
    step += step_of(g, m, v, c, s)
    p -= step.astype(p.dtype)


@planted(an_adam(), "wait", "waits: bool")
def step_left_out_without_a_gradient(
    p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any
) -> None:
    if (g != 0).any():
        optim.adam(p, g, m, v, c, **s)


@planted(an_adam(), "NumPy call", "does not support ufuncs")
def rule_by_the_kernel_for_numpy(
    p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any
) -> None:
    numpy_kernels.KERNELS["adam"](p, g, m, v, c, **s)


@planted(an_adam(), "NumPy call", "does not support ufuncs")
def parameters_moved_by_numpys_subtract(
    p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any
) -> None:
    np.subtract(p, step_of(g, m, v, c, s), out=p)


@planted(an_adam(), "NumPy operand", "a NumPy ndarray does not mix")
def scratch_kept_on_the_host(p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any) -> None:
    step_of(g, m, v, c, s)
    scratch = np.empty(p.shape, "float32")
    namespace(p).sqrt(v, out=scratch)
    p -= c[0] * m / (scratch + c[1])


@planted(an_adam(), "wait", "waits: boolean index")
def only_what_has_a_gradient_is_moved(
    p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any
) -> None:
    step = step_of(g, m, v, c, s)
    used = v > 0
    p[used] -= step[used]


@planted(an_adam(), "implicit", "implicit conversion")
def first_sum_written_to_the_host(
    p: Array, g: Array, m: Array, v: Array, c: Array, **s: Any
) -> None:
    kept = np.zeros(m.shape, "float32")
    optim.adam(p, g, m, v, c, **s)
    kept[...] = m


# Clipping


@planted(CLIPPED, "wait", "waits: bool")
def clipped_by_the_smaller_of_python(optimiser: Optimiser, limit: float) -> Array:
    g = optimiser.flat.gather()
    norm = optimiser.backend.xp.sqrt((g * g).sum())
    g *= min(1.0, limit / norm)
    return norm


@planted(CLIPPED, "wait", "waits: float")
def clipped_by_a_norm_on_the_host(optimiser: Optimiser, limit: float) -> float:
    g = optimiser.flat.gather()
    norm = math.sqrt(float((g * g).sum()))
    g *= min(1.0, limit / norm)
    return norm


@planted(CLIPPED, "NumPy call", "use the function of xp")
def clipped_by_the_norm_of_numpy(optimiser: Optimiser, limit: float) -> Array:
    g = optimiser.flat.gather()
    norm = np.linalg.norm(g)
    g *= optimiser.backend.xp.minimum(1, limit / norm)
    return norm


@planted(CLIPPED, "NumPy operand", "a NumPy float64 does not mix")
def clipped_to_a_limit_of_numpys(optimiser: Optimiser, limit: float) -> Array:
    xp, g = optimiser.backend.xp, optimiser.flat.gather()
    norm = xp.sqrt((g * g).sum())
    g *= xp.minimum(1, np.float64(limit) / norm)
    return norm


# Between steps


DROPPED = in_a_step(lambda trainer, x, noise: trainer.state.optimiser.drop_denormals())


@planted(DROPPED, "wait", "waits: bool")
def denormals_dropped_where_there_are_any(trainer: training.Trainer, *_: Any) -> None:
    for vector in trainer.state.optimiser.state.values():
        if (abs(vector) < 1e-38).any():
            vector[abs(vector) < 1e-38] = 0.0


@planted(DROPPED, "wait", "waits: flatnonzero")
def denormals_looked_for_by_place(trainer: training.Trainer, *_: Any) -> None:
    for vector in trainer.state.optimiser.state.values():
        vector[namespace(vector).flatnonzero(abs(vector) < 1e-38)] = 0.0


@planted(DROPPED, "NumPy operand", "a NumPy float32 does not mix")
def denormals_by_the_limit_that_finfo_gives(trainer: training.Trainer, *_: Any) -> None:
    for vector in trainer.state.optimiser.state.values():
        tiny = namespace(vector).finfo(vector.dtype).tiny
        vector[...] = namespace(vector).where(abs(vector) >= tiny, vector, vector * 0)


def begun_anew(trainer: training.Trainer, *_: Any) -> None:
    optimiser = trainer.state.optimiser
    for vector in (*optimiser.state.values(), optimiser.flat.values):
        vector[...] = optimiser.backend.xp.ones_like(vector)


@planted(in_a_step(begun_anew), "NumPy operand", "a NumPy ndarray does not mix")
def vectors_loaded_as_they_were_saved(trainer: training.Trainer, *_: Any) -> None:
    optimiser = trainer.state.optimiser
    for vector in (*optimiser.state.values(), optimiser.flat.values):
        vector[...] = np.ones(vector.shape, "float32")
