"""The checker: every pullback against the differences of its own value, element by element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyvae.autograd.lift import no_grad, op
from tinyvae.autograd.tensor import Tensor
from tinyvae.errors import BackendError, DtypeError, GraphError, NonFiniteError, ShapeError

EPSILON = float(np.finfo(np.float64).eps)
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
ROUGH = 1e-4  # doubt about the differences, relative to the gradient, that makes them useless


@dataclass(frozen=True)
class WorstElement:
    """Where an argument's two gradients differ most, for what is allowed there.

    Attributes
    ----------
    argument : int
        Which input of the function.
    index : tuple of int
        Which element of it.
    pullback, differences : float
        The gradient by the pullback, and by finite differences of the value.
    error : float
        Their distance over the largest element of the gradient.
    allowed : float
        The tolerance plus ``doubt``.
    doubt : float
        How uncertain the differences are, in the same measure.
    """

    argument: int
    index: tuple[int, ...]
    pullback: float
    differences: float
    error: float
    allowed: float
    doubt: float

    @property
    def verdict(self) -> str:
        """``"right"``, ``"WRONG"``, or ``"CANNOT TELL"`` where the differences are too rough."""
        if self.error > self.allowed:
            return "WRONG"
        return "right" if self.doubt <= ROUGH else "CANNOT TELL"

    @property
    def passed(self) -> bool:
        """Whether the two surely agree."""
        return self.verdict == "right"

    @property
    def _zero(self) -> bool:
        return self.pullback == 0 and abs(self.differences) <= 1e-9

    def __str__(self) -> str:
        rough = self.verdict == "CANNOT TELL"
        return (
            f"{self.verdict}: argument {self.argument}, worst element {self.index}: the pullback "
            f"says {self.pullback:.10g}, the differences {self.differences:.10g}; off by "
            f"{self.error:.1e} of the gradient's largest element, {self.allowed:.1e} allowed"
            + ("; the value is too large or too rough here: check at another point" * rough)
            + ("; both are 0, which a wrong factor leaves 0: check at another point" * self._zero)
        )


@dataclass(frozen=True)
class GradientReport:
    """The worst element of every argument; true if all of them pass."""

    arguments: tuple[WorstElement, ...]

    def __bool__(self) -> bool:
        return all(worst.passed for worst in self.arguments)

    def __str__(self) -> str:
        return "\n".join(map(str, self.arguments))

    __repr__ = __str__


def gradcheck(
    function: Callable[..., Any], *inputs: Any, seed: int = 0, tolerance: float = 1e-7
) -> GradientReport:
    """Compare the gradient of a function with finite differences of its value.

    Parameters
    ----------
    function : callable
        A function of Tensors that returns a Tensor of any shape; or a bare op, a function
        of arrays that returns its value and its pullback. Its randomness must be frozen:
        hand the noise in.
    *inputs : array_like of float64
        Where to check. Keep away from kinks, such as relu at 0, and from points where the
        gradient is zero; and let no two axes have the same length, nor any the length 1,
        where a wrong shape could pass by broadcasting.
    seed : int
        Of the random upstream gradient, by which the gradients that are reported are
        multiplied. (With one of ones, errors that sum to zero hide: softmax passes with a
        gradient of zero.)
    tolerance : float
        Relative to the largest element of each argument's gradient, so that a loss that is
        scaled by 1e-8 is checked as strictly as the loss itself.

    Returns
    -------
    GradientReport
        True if every element of every argument agrees; it prints the worst ones.

    Raises
    ------
    DtypeError
        An input is not float64: float32 is too coarse to tell right from wrong.
    NonFiniteError
        The value or a gradient is not finite there.

    Notes
    -----
    The differences are central, of five points: (8 (f(x + h) - f(x - h)) - (f(x + 2h) -
    f(x - 2h))) / 12 h, whose error is of order h^4. Of four steps h the two that agree best
    are taken; how far they are apart, and the round-off, is the doubt about them. Where that
    is more than 1e-4 of the gradient the verdict is that one cannot tell, and it is no pass.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.5, 2.0])
    >>> bool(gradcheck(lambda t: t * t, x))
    True
    >>> gradcheck(lambda a: (a**3, lambda g: g * 2 * a**2), x)  # 3, not 2
    WRONG: argument 0, worst element (1,): the pullback says ...
    """
    tensors = [_checked_input(k, x) for k, x in enumerate(inputs)]
    function = _of_tensors(function, tensors)
    value = function(*tensors)
    if not isinstance(value, Tensor):
        raise GraphError(f"the function returned {type(value).__name__}, not a Tensor")
    upstream = np.random.default_rng(seed).standard_normal(value.shape)
    value.backward(value.backend.from_host(upstream) if value.ndim else float(upstream))
    return GradientReport(
        tuple(
            _worst(k, _gradient(x), *_differences(function, tensors, k, upstream), tolerance)
            for k, x in enumerate(tensors)
        )
    )


def _checked_input(k: int, x: Any) -> Tensor:
    array = x.array if isinstance(x, Tensor) else x
    if str(getattr(array, "dtype", "float64")) != "float64":
        raise DtypeError(
            f"argument {k} is of {array.dtype}; gradients are checked in float64: "
            "pass it as .astype('float64')"
        )
    tensor = Tensor(array, dtype="float64", requires_grad=True, name=f"argument {k}")
    if not tensor.size:
        raise ShapeError(f"argument {k} of shape {tensor.shape} is empty: nothing to check")
    return tensor


def _of_tensors(function: Callable[..., Any], tensors: list[Tensor]) -> Callable[..., Any]:
    """``function`` itself, or lifted if it is one of arrays."""
    try:
        with no_grad():
            bare = isinstance(function(*tensors), tuple)
    except (
        TypeError,
        AttributeError,
        BackendError,
    ):  # as when a function of arrays is given Tensors
        bare = _is_bare(function, tensors)
        if not bare:
            raise
    return op(function) if bare else function


def _is_bare(function: Callable[..., Any], tensors: list[Tensor]) -> bool:
    try:
        return isinstance(function(*(x.array for x in tensors)), tuple)
    except Exception:  # then it works on neither, and the first error says why
        return False


def _gradient(x: Tensor) -> np.ndarray:
    """The gradient on the host; zeros where the function does not use its input."""
    return np.zeros(x.shape) if x.grad is None else x.backend.to_host(x.grad)


def _differences(
    function: Callable[..., Any], tensors: list[Tensor], k: int, upstream: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """For every element of argument k its slope and the doubt about it; and their scale."""
    point, scale = tensors[k].numpy(), 0.0
    slopes, doubts = np.empty_like(point), np.empty_like(point)
    for index in np.ndindex(point.shape):
        unit = max(1.0, abs(point[index]) / 100)
        tries = [_five_points(function, tensors, k, index, h * unit, upstream) for h in STEPS]
        slope, noise, span = np.array(tries).T
        gaps = np.abs(np.diff(slope))
        best = int(np.nan_to_num(gaps, nan=np.inf).argmin())
        slopes[index], doubts[index] = slope[best], gaps[best] + noise[best]
        scale = max(scale, float(np.nan_to_num(span).max()))
    return slopes, doubts, scale


def _five_points(
    function: Callable[..., Any],
    tensors: list[Tensor],
    k: int,
    index: tuple[int, ...],
    h: float,
    upstream: np.ndarray,
) -> tuple[float, float, float]:
    """The slope along one element, its round-off, and the steepness of the value around it.

    The last is not 0 where the slope is, at a minimum: there it is the measure for errors.
    """
    f = {s: upstream * _moved(function, tensors, k, index, s * h) for s in (-2, -1, 1, 2)}
    with np.errstate(all="ignore"):
        near, far = f[1] - f[-1], f[2] - f[-2]
        sums = [float((f[s] - f[1]).sum()) for s in f]
        return (
            float((8 * near - far).sum()) / (12 * h),
            4 * EPSILON * float(np.abs(f[1]).sum()) / h,
            (max(sums) - min(sums)) / (4 * h),
        )


def _moved(
    function: Callable[..., Any], tensors: list[Tensor], k: int, index: tuple[int, ...], by: float
) -> np.ndarray:
    """The value with one element moved."""
    point = tensors[k].numpy()
    point[index] += by
    moved = Tensor.wrap(tensors[k].backend.from_host(point))
    with no_grad(), np.errstate(all="ignore"):  # a step may leave the domain, as of log
        value = function(*tensors[:k], moved, *tensors[k + 1 :])
    return np.asarray(value.numpy())


def _worst(
    k: int,
    pullback: np.ndarray,
    differences: np.ndarray,
    doubts: np.ndarray,
    steepness: float,
    tolerance: float,
) -> WorstElement:
    both = np.stack([pullback, differences])
    if not np.isfinite(both).all():
        raise NonFiniteError(f"the gradient of argument {k} is not finite at this point")
    scale = max(float(np.abs(both).max()), steepness) or 1.0
    errors, doubts = np.abs(pullback - differences) / scale, doubts / scale
    allowed = tolerance + doubts
    worst = np.maximum(errors / allowed, doubts / ROUGH)
    index = np.unravel_index(int(worst.argmax()), errors.shape)
    where = tuple(int(i) for i in index)
    return WorstElement(
        k,
        where,
        float(pullback[where]),
        float(differences[where]),
        float(errors[where]),
        float(allowed[where]),
        float(doubts[where]),
    )
