"""Optimisers: each one sweep over the flat vector of a model's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from tinyvae.autograd import Tensor
from tinyvae.backend import Array
from tinyvae.errors import OptionError, RunError
from tinyvae.nn import FlatParameters

Schedule: TypeAlias = Callable[[int], float]
"""A learning rate for each step, counted from 1."""

Constants: TypeAlias = Any
"""A tuple of numbers, or an array with as many."""


# The rules: p the parameters, g the gradient, both (P,); everything is changed in place. What
# changes from step to step, the constants, are Python's numbers, or an array of the same dtype
# beside the others, where a step that was recorded finds those of its turn.


def sgd(p: Array, g: Array, velocity: Array, constants: Constants, *, momentum: float) -> None:
    """v = momentum v + g;  p = p - rate v; the rate is all that ``constants`` holds."""
    velocity *= momentum
    velocity += g
    p -= constants[0] * velocity


def adam(
    p: Array,
    g: Array,
    first: Array,
    second: Array,
    constants: Constants,
    *,
    beta1: float,
    beta2: float,
    decay: float,
) -> None:
    """One step of Adam (Kingma and Ba, 2015), with decoupled decay (Loshchilov and Hutter, 2019).

    ``first`` and ``second`` are the discounted sums of g and g^2. Adam's averages of step t
    are m = first (1 - beta1) / (1 - beta1^t), v = second (1 - beta2) / (1 - beta2^t), and

        p = p - rate decay p - rate m / (sqrt(v) + epsilon)
          = p - shrink p - size first / (sqrt(second) + floor),

    where ``size``, ``floor`` and ``shrink`` are the ``constants``, which `adam_constants` tells:
    that saves passes over memory.
    """
    first *= beta1
    first += g
    second *= beta2
    second += g * g
    size, floor, shrink = constants[0], constants[1], constants[2]
    if decay:
        p -= shrink * p
    p -= size * (first / (second**0.5 + floor))


def adam_constants(
    t: int, rate: float, *, beta1: float, beta2: float, epsilon: float, decay: float
) -> tuple[float, float, float]:
    """``size``, ``floor`` and ``shrink`` of `adam` in step ``t``, counted from 1.

    >>> adam_constants(1, 0.5, beta1=0.5, beta2=0.75, epsilon=1.0, decay=0.25)
    (0.5, 1.0, 0.125)
    """
    to_m = (1 - beta1) / (1 - beta1**t)
    to_sigma = math.sqrt((1 - beta2) / (1 - beta2**t))
    return rate * to_m / to_sigma, epsilon / to_sigma, rate * decay


def rmsprop(
    p: Array, g: Array, second: Array, constants: Constants, *, rho: float, epsilon: float
) -> None:
    """v = rho v + (1 - rho) g^2;  p = p - rate g / (sqrt(v) + epsilon) (Tieleman and Hinton)."""
    second *= rho
    second += (1 - rho) * g * g
    p -= constants[0] * g / (second**0.5 + epsilon)


class Optimiser:
    """A rule, its settings, and the vectors that it keeps between steps.

    Parameters
    ----------
    parameters : sequence of Tensor
        `Module.parameters()`. They become views of one flat vector.
    learning_rate : float or callable
        A number above 0, or a schedule: a function of the step, counted from 1.
    **settings : float
        What else the rule takes.
    """

    rule: Callable[..., None]
    vectors: tuple[str, ...]

    def __init__(
        self, parameters: Sequence[Tensor], learning_rate: float | Schedule, **settings: float
    ) -> None:
        if not callable(learning_rate) and not 0 < learning_rate < math.inf:
            raise OptionError(f"a learning rate is a number above 0, not {learning_rate}")
        self.flat = FlatParameters(parameters)
        self.learning_rate, self.settings, self.steps = learning_rate, _checked(settings), 0
        self.backend = self.flat.parameters[0].backend
        zeros = self.backend.xp.zeros_like
        self.state = {name: zeros(self.flat.values) for name in self.vectors}

    def step(self) -> None:
        """Move the parameters by the rule, along the gradients that `backward` has left."""
        self.steps += 1
        self.move(self.constants(self.steps))

    def constants(self, t: int) -> tuple[float, ...]:
        """What the rule needs to know of step ``t``, counted from 1: the learning rate first."""
        return (self._rate(t),)

    def move(self, constants: Constants) -> None:
        """What `step` does, with these `constants`."""
        vectors = (self.flat.values, self.flat.gather(), *self.state.values())
        rule = self.backend.kernel(self.rule.__name__, self.rule)
        rule(*vectors, constants, **self.settings)
        self.flat.announce()

    def _rate(self, t: int) -> float:
        rate = self.learning_rate
        return float(rate(t) if callable(rate) else rate)

    @contextmanager
    def seen_as(self, watch: Callable[[Array], Array]) -> Iterator[None]:
        """Within the block all vectors are what ``watch`` makes of them, to be recorded."""
        plain = self.state
        with self.flat.seen_as(watch):
            self.state = {name: watch(vector) for name, vector in plain.items()}
            try:
                yield
            finally:
                self.state = plain

    def zero_grad(self) -> None:
        """Forget the gradients, before the next backward pass."""
        self.flat.zero_grad()

    def drop_denormals(self) -> None:
        """Set to 0 what has decayed below the normal numbers.

        A mean of gradients that are now 0 shrinks until rounding stops it at some 1e-45, and
        there it stays: too small to matter, and slow to compute with on every processor.
        """
        xp, dtype = self.backend.xp, self.flat.values.dtype
        tiny = float(xp.finfo(dtype).tiny)
        for vector in self.state.values():
            vector[...] = xp.where(xp.abs(vector) >= tiny, vector, vector * 0)

    def state_dict(self) -> dict[str, Any]:
        """The number of steps, and copies of the vectors on the host."""
        vectors = {name: self.backend.to_host(v.copy()) for name, v in self.state.items()}
        return {"steps": self.steps, **vectors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken; all of it or, after an error, none of it."""
        for name, vector in self.state.items():
            saved = state.get(name)
            if saved is None or (saved.shape, saved.dtype) != (vector.shape, vector.dtype):
                raise RunError(
                    f"the saved optimiser has no {name!r} of {vector.dtype}, shape {vector.shape}"
                )
        self.steps = int(state["steps"])
        for name, vector in self.state.items():
            vector[...] = self.backend.from_host(state[name])


def _checked(settings: dict[str, float]) -> dict[str, float]:
    for name, value in settings.items():
        limit = math.inf if name in ("epsilon", "decay") else 1
        if not 0 <= value < limit:
            raise OptionError(f"{name} is from 0 to below {limit}, not {value}")
    return settings


class SGD(Optimiser):
    """Gradient descent, with momentum from 0 (none) to below 1; see `sgd`.

    Examples
    --------
    >>> x = Tensor([4.0], requires_grad=True)
    >>> optimiser = SGD([x], learning_rate=0.25)
    >>> (x * x).sum().backward()
    >>> optimiser.step()
    >>> x
    Tensor([2.0], requires_grad=True)
    """

    rule = staticmethod(sgd)
    vectors = ("velocity",)

    def __init__(
        self,
        parameters: Sequence[Tensor],
        learning_rate: float | Schedule = 0.01,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate, momentum=momentum)


class Adam(Optimiser):
    """Adam (Kingma and Ba, 2015); see `adam`."""

    rule = staticmethod(adam)
    vectors = ("first", "second")

    def __init__(
        self,
        parameters: Sequence[Tensor],
        learning_rate: float | Schedule = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        _checked({"epsilon": epsilon})
        super().__init__(parameters, learning_rate, beta1=beta1, beta2=beta2, decay=0.0)
        self.epsilon = epsilon

    def constants(self, t: int) -> tuple[float, ...]:
        """Of `adam_constants`."""
        return adam_constants(t, self._rate(t), epsilon=self.epsilon, **self.settings)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); see `adam`."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        learning_rate: float | Schedule = 1e-3,
        decay: float = 0.01,
        **settings: float,
    ) -> None:
        super().__init__(parameters, learning_rate, **settings)
        self.settings |= _checked({"decay": decay})


class RMSprop(Optimiser):
    """RMSprop (Tieleman and Hinton, 2012); see `rmsprop`."""

    rule = staticmethod(rmsprop)
    vectors = ("second",)

    def __init__(
        self,
        parameters: Sequence[Tensor],
        learning_rate: float | Schedule = 0.01,
        rho: float = 0.99,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(parameters, learning_rate, rho=rho, epsilon=epsilon)


def clip_global_norm(optimiser: Optimiser, limit: float) -> Array:
    """Scale the gradients down to a Euclidean norm of ``limit``, all by one factor.

    Returns the norm that they had, as a 0-d array of the backend (Pascanu et al., 2013).
    """
    if not limit > 0:
        raise OptionError(f"the limit of a norm is above 0, not {limit}")
    xp, g = optimiser.backend.xp, optimiser.flat.gather()
    tiny = 1e-30  # against 0 / 0 for a gradient of zeros
    largest = xp.maximum(xp.max(xp.abs(g)), tiny)  # taken out, so that no square overflows
    norm = largest * xp.sqrt(xp.sum(xp.square(g / largest)))
    g *= xp.minimum(1, limit / xp.maximum(norm, tiny))
    return norm


# Schedules: learning rates as functions of the step, counted from 1


def exponential(start: float, factor: float, every: int = 1) -> Schedule:
    """``start``, multiplied by ``factor`` after every so many steps: a staircase.

    >>> rate = exponential(1.0, 0.5, every=10)
    >>> rate(1), rate(10), rate(11)
    (1.0, 1.0, 0.5)
    """
    return lambda step: start * factor ** ((step - 1) // every)


def cosine(peak: float, steps: int, warm_up: int = 0) -> Schedule:
    """Linear from 0 to ``peak`` over ``warm_up`` steps, then half a cosine down to 0 at ``steps``.

    >>> rate = cosine(1.0, steps=110, warm_up=10)
    >>> rate(5), rate(10), round(rate(60), 6), rate(110)
    (0.5, 1.0, 0.5, 0.0)
    """
    if not 0 <= warm_up < steps:
        raise OptionError(f"the warm-up of {warm_up} steps must end before {steps}")

    def rate(step: int) -> float:
        if step <= warm_up:
            return peak * step / warm_up
        done = min(1.0, (step - warm_up) / (steps - warm_up))
        return peak * (1 + math.cos(math.pi * done)) / 2

    return rate


def threefold(start: float, every: int = 1) -> Schedule:
    """A staircase whose i-th stair is 3^i times ``every`` steps long (Burda et al., 2015).

    The stairs, i = 0, 1, ..., are ``start`` times 10^(-i/7), rounded to a tenth of the last:
    the rate falls to a tenth in seven stairs.

    >>> rate = threefold(1e-3, every=10)
    >>> [round(rate(step), 6) for step in (1, 10, 11, 40, 41, 131)]
    [0.001, 0.001, 0.00072, 0.00072, 0.00052, 0.00037]
    """

    def rate(step: int) -> float:
        stair, end = 0, every
        while step > end:
            stair += 1
            end += every * 3**stair
        return start * round(10 ** (1 - min(stair, 7) / 7), 1) / 10

    return rate
