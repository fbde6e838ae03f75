"""The recorded graph under a Tensor, drawn: what backward will go through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from tinyvae.autograd.node import USED
from tinyvae.autograd.tensor import Tensor
from tinyvae.errors import GraphError, MissingExtraError
from tinyvae.plots.layers import Key, Plan, Route, arrange, port_offset
from tinyvae.plots.style import CLASSES, PAPER, QUIET, house_style

MOST = 200  # nodes in one picture
HEIGHT, STUB, PITCH = 0.27, 0.22, 0.7  # inches: of a box, of the line above it, from row to row
GAP, MARGIN = 0.22, 0.2  # inches
FONT, SMALL = 8, 6.5  # points
KINDS = {  # the colours of its box and of its border
    "op": ("#e7f0fa", CLASSES[0]),
    "parameter": ("#fdeedd", CLASSES[1]),
    "input": ("#e2f5ec", CLASSES[2]),
    "number": ("#f2f2f2", QUIET),
}


@house_style()
def graph(tensor: Tensor) -> Figure:
    """The ops that made a tensor, from its inputs below to itself on top.

    A box is an op, a parameter (a leaf that requires a gradient), an input or a number; the
    shape of what it hands on stands above it. An op takes its inputs from left to right.

    Parameters
    ----------
    tensor : Tensor
        A loss, or any other tensor, before its backward pass. Names of leaves are shown:
        give them as ``tv.Tensor(..., name="a")``; `Module.parameters` names those of a model.

    Raises
    ------
    GraphError
        The graph was freed by backward, or it has more than 200 nodes.
    MissingExtraError
        networkx is not installed.

    Examples
    --------
    >>> a, b = (Tensor([1.0, 2.0], requires_grad=True, name=name) for name in "ab")
    >>> figure = graph((a * b).sum())
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['sum', '()', 'multiply', '(2,)', 'a', '(2,)', 'b', '(2,)']
    """
    net = recorded(tensor)
    if len(net) > MOST:
        raise GraphError(
            f"a picture of {len(net)} nodes cannot be read, {MOST} is the most: draw a tensor "
            "nearer to the inputs, or a smaller model"
        )
    widths = {node: _width(box["name"], box["shape"]) for node, box in net.nodes(data=True)}
    plan = arrange(net, widths, GAP)
    figure, axes = _canvas(plan, widths)
    for route in plan.routes:
        _draw_edge(axes, plan, route, widths)
    for node, box in net.nodes(data=True):
        _draw_box(axes, plan.x[node], plan.row[node] * PITCH, widths[node], **box)
    return figure


def recorded(tensor: Tensor) -> Any:
    """The graph under a tensor as a networkx.MultiDiGraph, with edges from input to result.

    The nodes are the tensors themselves; a number among the inputs is one by its place,
    ``(result, position)``. The key of an edge is the position of the input. A node has a
    ``kind``, a ``name`` and a ``shape``, which are text.
    """
    net, stack = _networkx().MultiDiGraph(), [tensor]
    net.add_node(tensor)
    while stack:
        result = stack.pop()
        net.add_node(result, kind=_kind(result), name=_name(result), shape=str(result.shape))
        for position, x in enumerate(result.node.inputs if result.node else ()):
            number = not isinstance(x, Tensor)
            key = (result, position) if number else x
            if number:
                net.add_node(key, kind="number", name=f"{x:g}".replace("-", "−"), shape="")
            elif x not in net:
                stack.append(x)
            net.add_edge(key, result, position)
    return net


def _networkx() -> Any:
    try:
        import networkx
    except ImportError as error:
        raise MissingExtraError(
            "a picture of a graph needs networkx, which is not installed: "
            "pip install 'tinyvae[graph]'"
        ) from error
    return networkx


def _kind(tensor: Tensor) -> str:
    if tensor.node is USED:
        raise GraphError(
            f"backward has already gone through {tensor.name or 'a tensor'} {tensor.shape} and "
            "freed its graph: draw it before backward, or compute it again"
        )
    if tensor.node:
        return "op"
    return "parameter" if tensor.requires_grad else "input"


def _name(tensor: Tensor) -> str:
    if tensor.node:
        return f"{tensor.name} = {tensor.node.op}" if tensor.name else tensor.node.op
    return tensor.name or _kind(tensor)


def _width(name: str, shape: str) -> float:
    """Inches that a box takes, so that its name and its shape have room."""
    return max(_text_width(name, FONT) + 0.24, _text_width(shape, SMALL) + 0.08, 0.42)


def _text_width(text: str, points: float) -> float:
    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=points).vertices[:, 0].max()) / 72


def _canvas(plan: Plan, widths: Mapping[Key, float]) -> tuple[Figure, Axes]:
    """A figure with axes as large as itself, in inches."""
    sides = [(x - widths.get(k, 0) / 2, x + widths.get(k, 0) / 2) for k, x in plan.x.items()]
    left, right = min(low for low, _ in sides) - MARGIN, max(high for _, high in sides) + MARGIN
    low = -HEIGHT / 2 - MARGIN
    high = max(plan.row.values()) * PITCH + HEIGHT / 2 + STUB + MARGIN
    figure = Figure(figsize=(right - left, high - low))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_axis_off()
    return figure, axes


def _draw_box(
    axes: Axes, x: float, y: float, width: float, kind: str, name: str, shape: str
) -> None:
    paper, line = KINDS[kind]
    corner, rounded = (x - width / 2, y - HEIGHT / 2), "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, width, HEIGHT, rounded, fc=paper, ec=line, lw=0.9))
    middle: Any = {"ha": "center", "va": "center_baseline"}
    axes.text(x, y, name, fontsize=FONT, **middle)
    if shape:
        blank = {"boxstyle": "square,pad=0.15", "fc": PAPER, "ec": "none"}
        above = y + HEIGHT / 2 + 0.6 * STUB
        axes.text(x, above, shape, fontsize=SMALL, color=QUIET, bbox=blank, **middle)


def _draw_edge(axes: Axes, plan: Plan, route: Route, widths: Mapping[Key, float]) -> None:
    """A smooth line, upright wherever it leaves, passes or enters a row."""
    key, *through, last = route.keys
    x, top = plan.x[key], plan.row[key] * PITCH + HEIGHT / 2
    points = [(x, top), (x, top + STUB)]
    for key in through:
        points += _bend(points[-1], plan.x[key], plan.row[key])
        points.append((plan.x[key], plan.row[key] * PITCH + HEIGHT / 2 + STUB))
    end = plan.x[last] + port_offset(route.port, widths[last])
    points += _bend(points[-1], end, plan.row[last])
    bend = [Path.CURVE4, Path.CURVE4, Path.CURVE4, Path.LINETO]
    codes = [Path.MOVETO, Path.LINETO, *(bend * len(route.keys))[: len(points) - 2]]
    look: Any = {"color": "#8c8c8c", "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    head = "-|>,head_length=3,head_width=1.5"
    axes.add_patch(
        FancyArrowPatch(path=Path(points, codes), arrowstyle=head, mutation_scale=1, **look)
    )


def _bend(start: tuple[float, float], x: float, row: int) -> list[tuple[float, float]]:
    """The points of a Bezier curve, upright at both ends, to the foot of a row."""
    foot = row * PITCH - HEIGHT / 2
    half = (start[1] + foot) / 2
    return [(start[0], half), (x, half), (x, foot)]
