"""Four gradient checkers behind one door: a bare op and its inputs in, whether it passes out.

Each is called as its users call it, with its default tolerances, in float64. The competitors
get the op wrapped by their own means: `torch.autograd.Function`, and `jax.custom_vjp` with
`jax.pure_callback`. A gradient of a wrong shape is refused for all alike, since PyTorch would
sum it to the right one.
"""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias

Op: TypeAlias = Callable[..., tuple[Any, Any]]
"""A function of NumPy arrays that returns its value and its pullbacks."""
Check: TypeAlias = Callable[[Op, Sequence[Any]], bool]
"""Whether a checker finds nothing wrong with an op at some inputs."""


def unless(errors: type[Exception], check: Check) -> Check:
    """The check, for which to raise one of these errors is to find something."""

    def quiet(op: Op, inputs: Sequence[Any]) -> bool:
        try:
            return check(op, inputs)
        except errors:
            return False

    return quiet


def tinyvae_check() -> Check:
    """Passes what it does not call wrong, also where it cannot tell."""
    from planted.ops.catch import says_wrong

    from tinyvae import gradcheck
    from tinyvae.errors import TinyvaeError

    return unless(TinyvaeError, lambda op, inputs: not says_wrong(gradcheck(op, *inputs)))


def gradients(pullbacks: Any, g: Any, inputs: Sequence[Any]) -> list[Any]:
    """Of every input, in its shape."""
    import numpy as np
    from planted.ops.error import many

    made = [np.asarray(pullback(g)) for pullback in many(pullbacks)]
    for gradient, x in zip(made, inputs, strict=True):
        if gradient.shape != x.shape:
            raise ValueError(f"a gradient of shape {gradient.shape} for an input of {x.shape}")
    return made


def torch_check(fast: bool) -> Check:
    """`torch.autograd.gradcheck`, which raises where it finds an error."""
    import numpy as np
    import torch

    # Having failed, the fast mode takes the whole Jacobian, minutes of a batch, for its message.
    module = sys.modules["torch.autograd.gradcheck"]
    module._run_slow_mode_and_get_error = lambda *_: ""  # type: ignore[attr-defined]

    def wrapped(op: Op) -> Any:
        class Wrapped(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *xs: torch.Tensor) -> torch.Tensor:
                ctx.inputs = [x.detach().numpy() for x in xs]
                value, ctx.pullbacks = op(*ctx.inputs)
                return torch.from_numpy(np.array(value))

            @staticmethod
            def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, ...]:
                made = gradients(ctx.pullbacks, g.numpy(), ctx.inputs)
                return tuple(torch.from_numpy(np.array(gradient)) for gradient in made)

        return Wrapped.apply

    def check(op: Op, inputs: Sequence[Any]) -> bool:
        tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
        return torch.autograd.gradcheck(wrapped(op), tensors, fast_mode=fast)

    return unless(Exception, check)


def jax_check() -> Check:
    """`jax.test_util.check_grads`, which raises where it finds an error, in reverse mode."""
    import jax
    import numpy as np
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    logging.disable(logging.ERROR)  # it logs what a callback raises, and raises too

    def wrapped(op: Op, inputs: Sequence[Any]) -> Any:
        like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
        value = np.asarray(op(*(x.copy() for x in inputs))[0])
        shape = jax.ShapeDtypeStruct(value.shape, value.dtype)

        def forward(*xs: Any) -> Any:
            return np.asarray(op(*map(np.asarray, xs))[0])

        def backward(g: Any, *xs: Any) -> tuple[Any, ...]:
            pullbacks = op(*map(np.asarray, xs))[1]
            return tuple(gradients(pullbacks, np.asarray(g), xs))

        @jax.custom_vjp
        def f(*xs: Any) -> Any:
            return jax.pure_callback(forward, shape, *xs)

        f.defvjp(
            lambda *xs: (f(*xs), xs), lambda xs, g: tuple(jax.pure_callback(backward, like, g, *xs))
        )
        return f

    count = itertools.count(1)

    def check(op: Op, inputs: Sequence[Any]) -> bool:
        if next(count) % 50 == 0:
            jax.clear_caches()  # it compiles every op that is wrapped, and keeps it
        arrays = tuple(jax.numpy.asarray(x) for x in inputs)
        check_grads(wrapped(op, inputs), arrays, order=1, modes=["rev"])
        return True

    return unless(Exception, check)


CHECKERS: dict[str, Callable[[], Check]] = {"tinyvae": tinyvae_check}
if find_spec("torch"):
    CHECKERS |= {
        "torch, slow": lambda: torch_check(fast=False),
        "torch, fast": lambda: torch_check(fast=True),
    }
if find_spec("jax"):
    CHECKERS["jax"] = jax_check
