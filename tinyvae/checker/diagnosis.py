"""What a wrong gradient usually means: each slip of the table says what it would look like."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NEARLY = "nearly: right to five digits; an epsilon, a rounded constant, a difference quotient?"
CLOSE = 1e-5  # to how many digits a gradient must look like the slip
NUMBERS = (1.0, -1.0, 0.5, -0.5, 2.0, -2.0)


@dataclass(frozen=True)
class Wrong:
    """A gradient that is wrong, the right one, and what both were made of.

    Attributes
    ----------
    argument : int
        Which of the inputs it is of.
    got, right : arrays of the input's shape
        By the pullback, and by the oracles.
    jacobian : (value.size, input.size)
        By the oracles.
    upstream : array of the value's shape
    points, labels : list
        All inputs, and what to call them.
    elsewhere : callable
        From other points, and the number of an input, to the right gradient of that input there.
    """

    argument: int
    got: np.ndarray
    right: np.ndarray
    jacobian: np.ndarray
    upstream: np.ndarray
    points: Sequence[np.ndarray]
    labels: Sequence[str]
    elsewhere: Callable[[Sequence[np.ndarray], int], np.ndarray]

    def pulled(self, upstream: np.ndarray) -> np.ndarray:
        """The right gradient for another upstream."""
        return np.reshape(upstream.reshape(-1) @ self.jacobian, self.right.shape)

    def off(self) -> np.ndarray:
        """Which elements are wrong."""
        scale = np.abs([self.got, self.right]).max()
        near = np.maximum(np.abs(self.got), np.abs(self.right)) + CLOSE * scale
        return np.asarray(np.abs(self.got - self.right) > CLOSE * near)


def diagnose(wrong: Wrong) -> str:
    """The first slip of the table that this gradient looks like, in words."""
    with np.errstate(all="ignore"):
        if alike(wrong.got, wrong.right):
            return _factor(wrong) or _part(wrong) or NEARLY
        return next(filter(None, (slip(wrong) for slip in SLIPS)), "no usual slip")


def diagnose_part(wrong: Wrong) -> str:
    """The same where only some elements of ``got`` and ``right`` are known, end to end."""
    slip = _zero(wrong) or _sign(wrong) or _factor(wrong)
    return slip or "which slip it is, a check at up to 100 elements may tell"


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two gradients agree to the digits that count here, and are not both zero."""
    scale = float(np.abs(b).max(initial=0))
    if a.shape != b.shape or not 0 < scale < math.inf:
        return False
    return bool(np.abs(a - b).max() <= CLOSE * scale)


def _zero(w: Wrong) -> str:
    return "" if w.got.any() else "zero: the pullback gives 0 everywhere"


def _sign(w: Wrong) -> str:
    return "sign: it is the right gradient with its sign flipped" if alike(-w.got, w.right) else ""


def _upstream(w: Wrong) -> str:
    if alike(w.got, w.pulled(np.ones_like(w.upstream))):
        return "upstream: the pullback ignores g; multiply by it"
    if alike(w.got, w.pulled(w.upstream**2)):
        return "upstream: the pullback multiplies by g twice"
    if alike(w.got, w.pulled(np.abs(w.upstream))):
        return "upstream: the pullback loses the sign of g"
    if w.upstream.size > 1 and alike(w.got, w.pulled(np.full_like(w.upstream, w.upstream.mean()))):
        return "upstream: the pullback uses the mean of g for all of it"
    return ""


def _swapped(w: Wrong) -> str:
    for k, label in enumerate(w.labels):
        if k != w.argument and w.points[k].shape == w.got.shape:
            other = w.elsewhere(w.points, k)
            if alike(w.got, other) or alike(-w.got, other):
                return f"swapped: it is the gradient of {label}, up to its sign"
    return ""


def _transposed(w: Wrong) -> str:
    turned = (w.right.transpose(axes) for axes in itertools.permutations(range(w.right.ndim)))
    if any(alike(w.got, right) for right in itertools.islice(turned, 1, None)):
        return "transposed: it is the right gradient with its axes in another order"
    return ""


def _factor(w: Wrong) -> str:
    k = np.unravel_index(int(np.abs(w.right).argmax()), w.right.shape)
    ratio = float(w.got[k] / w.right[k])
    if not alike(w.got - w.right, (ratio - 1) * w.right):
        return ""
    digits = 6 if abs(ratio - 1) > CLOSE else 12
    return f"factor {ratio:.{digits}g} everywhere{_meaning(w, ratio)}"


def _meaning(w: Wrong, ratio: float) -> str:
    """Where a constant factor may come from."""
    if w.right.size > 1 and not any(np.ptp(x) for x in w.points):
        return ": all elements are alike here, another point tells more"
    for n, which in () if _is_elementwise(w) else _lengths(w):
        if math.isclose(ratio, n, rel_tol=CLOSE):
            return f": {n} is {which}; is a mean taken for a sum?"
        if math.isclose(ratio, 1 / n, rel_tol=CLOSE):
            return f": 1/{n}, where {n} is {which}; is a sum taken for a mean, or a mean twice?"
    usual = {2: "a 1/2 is missing", 0.5: "a factor 2 is missing, as from a square"}
    return next((f": {s}" for n, s in usual.items() if math.isclose(abs(ratio), n)), "")


def _lengths(w: Wrong) -> Iterator[tuple[int, str]]:
    """Those above 2: a factor of 2 is more likely from a square."""
    point = w.points[w.argument]
    found = [(n, f"the length of its axis {axis}") for axis, n in enumerate(point.shape)]
    found += [(point.size, "its number of elements")]
    found += [(n, f"the length of the value's axis {k}") for k, n in enumerate(w.upstream.shape)]
    found += [(w.upstream.size, "the value's number of elements")]
    return ((n, which) for n, which in found if n > 2)


def _is_elementwise(w: Wrong) -> bool:
    """Whether each element of the value depends on one element of the input, in order."""
    rows, columns = w.jacobian.shape
    return rows == columns > 1 and not (w.jacobian - np.diag(np.diag(w.jacobian))).any()


def _broadcast(w: Wrong) -> str:
    """One slice of the upstream where the sum over a broadcast axis belongs."""
    for axis, n in enumerate(w.upstream.shape):
        for place in (0, n - 1):
            one = np.zeros_like(w.upstream)
            picked = (slice(None),) * axis + (place,)
            one[picked] = w.upstream[picked]
            if n > 1 and _is_repeated(w, axis) and alike(w.got, w.pulled(one)):
                return f"broadcast: only slice {place} of axis {axis} is counted; sum over the axis"
    return ""


def _is_repeated(w: Wrong, axis: int) -> bool:
    """Whether the input was stretched along that axis of the value."""
    behind = w.upstream.ndim - axis
    return w.right.ndim < behind or w.right.shape[-behind] == 1


def _permuted(w: Wrong) -> str:
    for axis in range(w.right.ndim):
        if _reordered(w.got, w.right, axis):
            return f"permuted: its slices along axis {axis} are the right ones in another order"
    for axis, n in enumerate(w.upstream.shape):
        turns = [np.roll(w.upstream, s, axis) for s in range(1, n)] + [np.flip(w.upstream, axis)]
        if any(alike(w.got, w.pulled(u)) for u in turns if n > 1):
            return f"permuted: g is used with its axis {axis} in another order"
    return ""


def _reordered(got: np.ndarray, right: np.ndarray, axis: int) -> bool:
    a, b = (np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1) for x in (got, right))
    first, second = (x[np.lexsort(np.round(x, 9).T)] for x in (a, b))
    return alike(first, second) and not alike(a, b)


def _diagonal(w: Wrong) -> str:
    rows, columns = w.jacobian.shape
    if rows != columns or _is_elementwise(w):
        return ""
    if not alike(w.got.reshape(-1), np.diag(w.jacobian) * w.upstream.reshape(-1)):
        return ""
    return "diagonal: only dy_i/dx_i is there; the elements of y depend on other x_j too"


def _branch(w: Wrong) -> str:
    """Wrong on one side of zero of an input."""
    off = w.off()
    for x, label in zip(w.points, w.labels, strict=True):
        for side, name in ((x > 0, "positive"), (x < 0, "negative")):
            if x.shape == off.shape and 1 < side.sum() < side.size and np.array_equal(side, off):
                return f"branch: it is wrong where {label} is {name}"
    return ""


def _part(w: Wrong) -> str:
    """One element, or one row or column, is off."""
    off = w.off()
    where = np.argwhere(off)
    if off.size > 1 and len(where) == 1:
        return f"element: only element {tuple(map(int, where[0]))} is wrong"
    for axis, n in enumerate(off.shape):
        if off.ndim > 1 and n > 1 and len(where) and len(set(where[:, axis])) == 1:
            name = ("row", "column")[axis] if off.ndim == 2 else f"slice of axis {axis}"
            return f"row: only {name} {int(where[0, axis])} is wrong"
    return ""


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "{}": lambda x: x,
    "1 / {}": lambda x: 1 / x,
    "{}^2": lambda x: x * x,
    "exp({} / 2)": lambda x: np.exp(x / 2),
    "exp(-{} / 2)": lambda x: np.exp(-x / 2),
    "exp({})": np.exp,
    "exp(-{})": lambda x: np.exp(-x),
    "exp(2 {})": lambda x: np.exp(2 * x),
    "exp(-2 {})": lambda x: np.exp(-2 * x),
}


def _input_factor(w: Wrong) -> str:
    """A function of an input is a factor too much, or one too few."""
    for (x, label), (text, function) in itertools.product(_fitting(w), SHAPES.items()):
        for number in NUMBERS:
            if alike(w.got, number * function(x) * w.right):
                own = label == w.labels[w.argument]
                return _factor_words(text, bare_name(label), number, own)
    return ""


def _another_scale(w: Wrong) -> str:
    """The right gradient, had an input been half or twice what it is, or its opposite."""
    for k, label in enumerate(w.labels):
        for text, factor in (("/ 2", 0.5), ("times 2", 2.0), ("with its sign flipped", -1.0)):
            points = [factor * x if j == k else x for j, x in enumerate(w.points)]
            if alike(w.got, w.elsewhere(points, w.argument)):
                return (
                    f"sigma or scale: it is the right gradient at {bare_name(label)} {text}, as "
                    "when sigma, sigma squared and the log of it are mixed up"
                )
    return ""


def _factor_words(text: str, name: str, number: float, own: bool) -> str:
    what = f"{'' if number == 1 else f'{number:g} '}{text.format(name)}"
    if "exp" in text:
        return (
            f"sigma or exponent: off by the factor {what}, as when sigma, sigma squared and the "
            "log of it are mixed up, or the sign of an exponent is lost"
        )
    if "1 /" in text:
        missing = f"the factor {'' if number == 1 else f'{1 / number:g} '}{name} is missing"
        return f"input factor: {missing}" if own else f"noise: {missing}, as when noise is dropped"
    return f"input factor: off by the factor {what}"


def bare_name(label: str) -> str:
    """``x`` of ``argument 0 (x)``."""
    return label.partition("(")[2].rstrip(")") or label


def _fitting(w: Wrong) -> Iterator[tuple[np.ndarray, str]]:
    for x, label in zip(w.points, w.labels, strict=True):
        if _fits(x, w.right):
            yield np.broadcast_to(x, w.right.shape), label


def _fits(x: np.ndarray, like: np.ndarray) -> bool:
    """Whether ``x`` can be broadcast to the shape of ``like``."""
    behind = zip(reversed(x.shape), reversed(like.shape), strict=False)
    return x.ndim <= like.ndim and all(m in (1, n) for m, n in behind)


def _term(w: Wrong) -> str:
    """A number times g, or an input times g, is added or left out."""
    extra = w.got - w.right
    upstreams = [g for g in (w.upstream, w.upstream[..., None]) if _fits(g, extra)]
    factors = [
        (np.ones_like(extra), ""),
        *((x, f"{bare_name(label)} ") for x, label in _fitting(w)),
    ]
    for g, number, (x, label) in itertools.product(upstreams, NUMBERS, factors):
        if alike(extra, number * g * x):
            return f"term: {number:g} {label}g is too much"
    return ""


SLIPS: tuple[Callable[[Wrong], str], ...] = (
    _zero,
    _sign,
    _upstream,
    _broadcast,
    _transposed,
    _factor,
    _permuted,
    _diagonal,
    _input_factor,
    _swapped,
    _branch,
    _another_scale,
    _term,
    _part,
)
"""The table of usual slips, the more particular ones first."""
