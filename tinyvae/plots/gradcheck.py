"""A gradient check, drawn: how the Taylor remainder shrinks, and where each Jacobian is off."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tinyvae.checker import ArgumentReport, GradientReport, Taylor
from tinyvae.checker.report import CANNOT_TELL, RIGHT, WRONG
from tinyvae.plots.style import CLASSES, INK, LINE, PAPER, QUIET, colour_bar, house_style, roomy

LAYOUTS = ("oo", "oa", "oa;ob", "oab;oc.", "oab;ocd")  # by the number of Jacobians
MOST = len(LAYOUTS) - 1
LETTERS = 40  # on a line of a panel
ROUND_OFF = 1e-7  # of the Jacobian's largest element
KINK = 1e-3  # of the same: what is right in spite of such an error is so at a kink
ERROR = LinearSegmentedColormap.from_list("error", [CLASSES[0], PAPER, CLASSES[1]], N=255)


@house_style()
def gradcheck(report: GradientReport) -> Figure:
    """What a gradient check found: the order test, and where each argument's Jacobian is off.

    Left, what a Taylor step of first order leaves over: it shrinks with the square of the step
    if the gradient is right, and with the step itself if it is wrong. Right, for a value and
    inputs of no more than 100 elements, the Jacobian by the pullback less that by the oracles:
    the elements of the value from top to bottom, those of the input from left to right. White
    is no error; the colours of a right argument reach as far as its gradient, so that round-off
    does not show.

    Parameters
    ----------
    report : GradientReport
        Of `tinyvae.gradcheck`. Of more than 4 arguments those that are not right come first,
        and the title says how many are left out.

    Examples
    --------
    >>> import tinyvae as tv
    >>> report = tv.gradcheck(lambda x: (x**2, lambda g: g * x), np.array([0.5, 2.0]))
    >>> figure = gradcheck(report)
    >>> [axes.get_title(loc="left").splitlines()[0] for axes in figure.axes]
    ['Order test', 'argument 0 (x): WRONG']
    """
    order = sorted(report.arguments, key=lambda argument: argument.passed)
    shown, left_out = order[:MOST], order[MOST:]
    drawn = shown if report.jacobian_errors else []
    rows = LAYOUTS[len(drawn) or bool(shown)].split(";")
    title = _title(report, left_out, LETTERS * len(rows[0]))
    height = 3.8 * len(rows) if shown else 1.2
    figure = roomy(4.4 * len(rows[0]), height + 0.2 * title.count("\n"), title)
    panels = figure.subplot_mosaic(";".join(rows))
    _draw_order_test(panels["o"], report)
    for panel, argument in zip("abcd", drawn, strict=False):
        _draw_error(panels[panel], argument, report.jacobian_errors[argument.argument])
    if shown and not drawn:
        _list(panels["a"], shown)
    return figure


def _title(report: GradientReport, left_out: Sequence[ArgumentReport], letters: int) -> str:
    """The verdict, what is wrong with the function as a whole, and what is left out."""
    wrong = report.problems or any(argument.verdict == WRONG for argument in report.arguments)
    lines = [f"Gradient check: {RIGHT if report else WRONG if wrong else CANNOT_TELL}"]
    lines += report.problems
    if left_out:
        right = sum(argument.passed for argument in left_out)
        lines.append(f"arguments not shown: {len(left_out)}, right among them: {right}")
    return _wrapped(lines, letters)


def _wrapped(lines: Sequence[str], letters: int = LETTERS) -> str:
    return "\n".join(textwrap.fill(line, letters) for line in lines)


# The order test


def _draw_order_test(axes: Axes, report: GradientReport) -> None:
    axes.set_title("Order test")
    if not report.arguments:
        _say(axes, "not done, and no Jacobian compared")
    elif report.taylor is None:
        _say(axes, "not done: at a kink the slope jumps")
    elif not any(0 < remainder < math.inf for remainder in report.taylor.remainders):
        _say(axes, _verdict(report.taylor))
    else:
        _draw_remainders(axes, report.taylor)


def _say(axes: Axes, words: str) -> None:
    """Words in place of a picture."""
    axes.set_axis_off()
    axes.text(0, 0.97, words, transform=axes.transAxes, color=QUIET, va="top")


def _verdict(taylor: Taylor) -> str:
    return taylor.verdict.replace(": ", ":\n").replace(", ", ",\n")


def _draw_remainders(axes: Axes, taylor: Taylor) -> None:
    """The remainders over the steps, with the round-off in them."""
    series = np.array([taylor.steps, taylor.remainders, taylor.noise])
    known = np.isfinite(series[1]) & (series[1] > 0)  # 0 has no place on a logarithmic scale
    steps, remainders, noise = series[:, known]
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="Taylor remainder")
    bottom = min(*remainders, *noise[noise > 0]) / 30
    axes.set_ylim(bottom, max(100 * remainders.max(), 1e6 * noise.max()))
    colour = CLASSES[1] if taylor.verdict.endswith("wrong") else CLASSES[2]
    axes.plot(steps, remainders, color=colour, marker="o", markersize=4, zorder=3)
    axes.text(0.03, 0.98, _verdict(taylor), color=colour, transform=axes.transAxes, va="top")
    if noise.any():
        axes.fill_between(steps, bottom, noise, color=LINE, lw=0)
        _name(axes, "round-off", (steps[0], noise[0]), (-3, -3), ha="right", va="top")
    if not math.isnan(taylor.slope):
        _draw_guides(axes, steps, remainders[0])


def _draw_guides(axes: Axes, steps: np.ndarray, first: float) -> None:
    """How the remainders of a right and of a wrong gradient shrink from the first on."""
    wrong, right = (first * (steps / steps[0]) ** slope for slope in (1, 2))
    for line in (wrong, right):
        axes.plot(steps, line, color=QUIET, lw=0.9, dashes=(4, 3))
    above, below = 3 * len(steps) // 5, 2 * len(steps) // 5
    _name(axes, "slope 1: wrong", (steps[above], wrong[above]), (-6, 3), ha="right", va="bottom")
    _name(axes, "slope 2: right", (steps[below], right[below]), (8, -3), ha="left", va="top")


def _name(
    axes: Axes, words: str, at: tuple[float, float], away: tuple[float, float], **align: Any
) -> None:
    align |= {"xytext": away, "textcoords": "offset points", "annotation_clip": False}
    axes.annotate(words, at, color=QUIET, fontsize=8, **align)


# The Jacobians


def _draw_error(axes: Axes, argument: ArgumentReport, error: np.ndarray) -> None:
    """The pullback's Jacobian less the oracles', (value.size, input.size)."""
    jacobian, size = np.asarray(argument.jacobian), np.abs(error)
    scale = float(np.abs(jacobian).max()) or 1.0
    off = bool(size.max() > ROUND_OFF * scale) and not argument.passed
    at_kink = argument.passed & (size > KINK * scale)
    reach = float(size.max()) if off else scale
    axes.set_facecolor(LINE)  # seen where nothing is drawn
    blank_at_kink = np.ma.masked_where(at_kink, error)
    image = axes.imshow(blank_at_kink, cmap=ERROR, vmin=-reach, vmax=reach, aspect="auto")
    colour_bar(axes, image, "pullback − oracle")
    _label(axes, argument)
    if off:
        _mark_worst(axes, jacobian, error)
    elif argument.verdict == WRONG:
        _explain(axes, "white: right where g is 1; it is wrong in its use of g")
    else:
        _explain(axes, "white: no error" + ", grey: at a kink" * bool(at_kink.any()))


def _label(axes: Axes, argument: ArgumentReport) -> None:
    axes.set_title(_wrapped(_findings(argument)))
    axes.set(xlabel="element of the input", ylabel="element of the value")
    axes.spines[:].set_visible(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _findings(argument: ArgumentReport) -> list[str]:
    return [f"{argument.label}: {argument.verdict}", *argument.remarks]


def _mark_worst(axes: Axes, jacobian: np.ndarray, error: np.ndarray) -> None:
    """A ring around the element that is furthest off, and what it is and should be."""
    row, column = map(int, np.unravel_index(np.abs(error).argmax(), error.shape))
    ring: Any = {"marker": "o", "markersize": 10, "mfc": "none", "mec": INK, "mew": 1.2}
    axes.plot(column, row, **ring, clip_on=False)
    oracle = jacobian[row, column]
    _explain(axes, f"○ worst: {_compared(oracle + error[row, column], oracle)}")


def _explain(axes: Axes, words: str) -> None:
    axes.set_xlabel(f"{axes.get_xlabel()}\n{words}")


def _compared(pullback: float, oracle: float) -> str:
    return f"{pullback:.4g} by the pullback, {oracle:.4g} by the oracle".replace("-", "−")


def _list(axes: Axes, arguments: Sequence[ArgumentReport]) -> None:
    """In words, what is too large for a picture."""
    axes.set_title("Jacobian")
    lines = ["not drawn: the value or an input has more than 100 elements"]
    for argument in arguments:
        lines += ["", *_findings(argument)]
        if not argument.passed:
            lines.append(
                f"worst element {argument.index}: {_compared(argument.pullback, argument.oracle)}"
            )
    _say(axes, _wrapped(lines))
