from __future__ import annotations

import itertools
import sys
from collections import Counter

import numpy as np
import pytest
from drawn import texts
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import tinyvae as tv
from tinyvae import plots
from tinyvae.errors import GraphError, MissingExtraError
from tinyvae.plots.graph import KINDS, recorded


def leaf(name, *shape):
    return tv.Tensor(np.ones(shape, "float32"), requires_grad=True, name=name)


def expression():
    a, b, c = leaf("a", 2, 3), leaf("b", 3), leaf("c", 2, 3)
    return (a * b + c).sum()


def tangle():
    a, b = leaf("a", 3), leaf("b", 3)
    both = a * b
    return ((both - a) * (b - both) / (2.0 + both * both)).sum() * -0.5 + (a**2).mean()


def vae_loss(free_bits=0.0):
    model = tv.VAE((4, 4), latent=2, hidden=(8, 6), activation="tanh")
    model.parameters()  # names them
    x = tv.Tensor(np.ones((5, 16), "float32"), name="x")
    noise = tv.Noise(0).normal((5, 2))
    return tv.negative_elbo(model, x, noise, beta=4.0, free_bits=free_bits).loss


def skips():
    """Long edges side by side, as in a U-Net."""
    down = [leaf("x", 3)]
    for _ in range(6):
        down.append(tv.relu(down[-1]))
    up = down[-1]
    for x in reversed(down[:-1]):
        up = tv.tanh(up * x)
    return up.sum()


GRAPHS = pytest.mark.parametrize(
    "make", [expression, tangle, vae_loss, lambda: vae_loss(0.1), skips, lambda: leaf("a", 2)]
)


def walked(result, seen):
    """Every (input, position, result) under a tensor, by recursion; numbers by their value."""
    if id(result) in seen:
        return
    seen.add(id(result))
    for position, x in enumerate(result.node.inputs if result.node else ()):
        number = isinstance(x, (int, float))
        yield (x if number else id(x)), position, id(result)
        if not number:
            yield from walked(x, seen)


def boxes(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


def arrows(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]


def lines(figure):
    """The points of each arrow, without its head, from below."""
    return [arrow.get_path().to_polygons(closed_only=False)[0] for arrow in arrows(figure)]


def extents(figure):
    """The corners of each box, (n, 4): left, low, right, high."""
    corners = [(b.get_x(), b.get_y(), b.get_width(), b.get_height()) for b in boxes(figure)]
    left, low, width, height = np.array(corners).T
    return np.stack([left, low, left + width, low + height], axis=1)


def at(figure, name):
    """The one place where a name is written."""
    (text,) = (text for text in figure.axes[0].texts if text.get_text() == name)
    return text.get_position()


@GRAPHS
def test_nodes_and_edges_are_those_of_the_recorded_ops(make):
    tensor = make()
    net, seen = recorded(tensor), set()
    want = Counter(walked(tensor, seen))

    def known(key):
        return float(net.nodes[key]["name"].replace("−", "-")) if type(key) is tuple else id(key)

    assert Counter((known(u), k, id(v)) for u, v, k in net.edges(keys=True)) == want
    assert {id(node) for node in net if type(node) is not tuple} == seen
    figure = plots.graph(tensor)
    assert len(boxes(figure)) == len(net)
    assert len(arrows(figure)) == want.total()


def test_what_is_shared_is_one_box_and_what_goes_in_twice_has_two_arrows():
    a = leaf("a", 3)
    figure = plots.graph(a * a + a)
    assert Counter(texts(figure.axes[0])) == Counter(["add", "multiply", "a", *["(3,)"] * 3])
    assert len(arrows(figure)) == 4
    assert len({tuple(line[-1].round(3)) for line in lines(figure)}) == 4


def test_ops_parameters_and_inputs_have_their_names_their_shapes_and_their_colours():
    written = Counter(texts(plots.graph(vae_loss()).axes[0]))
    for part in ("encoder", "decoder"):
        for layer in (0, 2, 4):
            assert written[f"{part}.layers.{layer}.weight"] == 1
    want = {
        "x": 1,
        "input": 1,
        "affine": 6,
        "tanh": 4,
        "mean": 1,
        "4": 1,
        "(5, 16)": 2,
        "(6, 2)": 0,
    }
    assert {text: written[text] for text in want} == want

    figure = plots.graph(leaf("w", 2) * tv.Tensor([1.0, 2.0], name="x") * 3.0)
    names = [text for text in texts(figure.axes[0]) if not text.startswith("(")]
    colours = dict(zip(names, (to_hex(box.get_edgecolor()) for box in boxes(figure)), strict=True))
    kinds = {"multiply": "op", "w": "parameter", "x": "input", "3": "number"}
    assert colours == {name: KINDS[kind][1] for name, kind in kinds.items()}


def test_a_shape_stands_right_above_its_name():
    a, b = leaf("a", 2, 3), leaf("b", 3, 4)
    figure = plots.graph(a @ b)
    for name, shape in (("a", "(2, 3)"), ("b", "(3, 4)"), ("matmul", "(2, 4)")):
        (x, y), (shape_x, shape_y) = at(figure, name), at(figure, shape)
        assert shape_x == x
        assert 0.2 < shape_y - y < 0.35


def test_a_result_that_was_given_a_name_is_shown_with_it():
    hidden = tv.relu(leaf("x", 2))
    hidden.name = "hidden"
    assert "hidden = relu" in texts(plots.graph(hidden.sum()).axes[0])


def test_the_inputs_of_an_op_stand_from_left_to_right():
    figure = plots.graph(tv.concatenate(*(leaf(name, 1) for name in "dbca")))
    across = [at(figure, name)[0] for name in "dbca"]
    assert across == sorted(across)
    starts, ends = np.array([line[[0, -1], 0] for line in lines(figure)]).T
    np.testing.assert_allclose(np.sort(starts), across, atol=1e-6)
    assert (np.diff(ends[np.argsort(starts)]) > 0.05).all()


@GRAPHS
def test_boxes_stand_apart_and_every_arrow_goes_up_around_them(make):
    figure = plots.graph(make())
    corners = extents(figure)
    for one, other in itertools.combinations(corners, 2):
        between = np.maximum(one[:2], other[:2]) - np.minimum(one[2:], other[2:])
        assert between.max() > 0.1
    for x, y in (line.T for line in lines(figure)):
        assert (np.diff(y) > -1e-6).all()
        heights = np.linspace(y[0], y[-1], 500)[1:-1]
        points = np.stack([np.interp(heights, y, x), heights], axis=1)[:, None]
        assert not ((points > corners[:, :2]) & (points < corners[:, 2:])).all(axis=-1).any()


def test_a_long_way_past_other_ops_is_one_upright_line():
    figure = plots.graph(vae_loss())
    x, y = max(lines(figure), key=lambda line: np.ptp(line[:, 1])).T
    assert np.ptp(y) > 8
    heights = np.linspace(y[0] + 0.6, y[-1] - 0.6, 100)  # between the bends at both ends
    assert np.ptp(np.interp(heights, y, x)) < 0.01


def test_a_drawn_graph_can_still_be_differentiated_and_then_no_longer_drawn():
    a = leaf("a", 3)
    loss = (a * a).sum()
    plots.graph(loss)
    loss.backward()
    np.testing.assert_array_equal(a.grad, 2 * np.ones(3))
    with pytest.raises(GraphError, match=r"gone through a tensor \(\).*draw it before backward"):
        plots.graph(loss)
    plots.graph(a)


def test_a_graph_that_is_freed_in_part_is_refused():
    a = leaf("a", 3)
    shared = a * a
    other = shared.mean()
    shared.sum().backward()
    with pytest.raises(GraphError, match=r"\(3,\).*draw it before backward"):
        plots.graph(other)


def test_a_graph_too_large_to_read_is_refused_with_its_number_of_nodes():
    x = leaf("x", 2)
    for _ in range(200):
        x = tv.tanh(x)
    with pytest.raises(GraphError, match=r"201 nodes .* 200 is the most: draw a tensor nearer"):
        plots.graph(x)


def test_without_networkx_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinyvae\[graph\]'"):
        plots.graph(leaf("a", 1))


def test_a_graph_is_at_hand_in_the_package_itself():
    assert tv.graph is plots.graph
