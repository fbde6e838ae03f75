from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from checked import CASES, RNG, X, factors, product, square
from drawn import rendered, texts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import tinyvae as tv
from tinyvae import plots
from tinyvae.checker import Taylor

STEPS = tuple(2.0**-k for k in range(4, 14))


def title(axes):
    return axes.get_title(loc="left")


def shown(axes):
    """The numbers that a panel's colours stand for, and the two ends of the scale."""
    (image,) = axes.get_images()
    return image.get_array(), image.get_clim()


def lines(axes):
    return [np.array(line.get_data()) for line in axes.lines]


def ring(axes):
    """The row and the column that are marked."""
    (line,) = axes.lines
    return int(line.get_ydata()[0]), int(line.get_xdata()[0])


def colours(axes):
    (image,) = axes.get_images()
    return image.to_rgba(image.get_array(), bytes=True)


def inside(figure, axes):
    """The pixels within a panel, without its frame."""
    pixels = rendered(figure)
    x0, y0, x1, y1 = axes.get_window_extent().extents.round().astype(int)
    return pixels[len(pixels) - y1 + 4 : len(pixels) - y0 - 4, x0 + 4 : x1 - 4]


# The order test


@pytest.mark.parametrize(("factor", "words"), [(2, "right"), (4, "wrong")])
def test_the_remainders_are_drawn_over_the_steps_and_named_with_their_slope(factor, words):
    report = tv.gradcheck(square(factor), X)
    axes = plots.gradcheck(report).axes[0]
    np.testing.assert_array_equal(lines(axes)[0], [report.taylor.steps, report.taylor.remainders])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    slope = {"right": "2.00", "wrong": "1.00"}[words]
    assert f"slope {slope}:\nthe gradient is {words}" in texts(axes)


@pytest.mark.parametrize(("number", "words"), [(1, "slope 1: wrong"), (2, "slope 2: right")])
def test_a_guide_has_the_slope_that_it_is_named_by_and_begins_at_the_first_remainder(number, words):
    axes = plots.gradcheck(CASES["right"]()).axes[0]
    measured, guide = lines(axes)[0], lines(axes)[number]
    np.testing.assert_allclose(guide[:, 0], measured[:, 0])
    ends = np.log(guide[:, [0, -1]])
    assert np.diff(ends[1])[0] / np.diff(ends[0])[0] == pytest.approx(number)
    (name,) = (text for text in axes.texts if text.get_text() == words)
    assert name.xy[1] == pytest.approx(np.interp(name.xy[0], *guide[:, ::-1]))


def test_the_round_off_is_shaded_up_to_what_the_checker_computes():
    report = CASES["right"]()
    axes = plots.gradcheck(report).axes[0]
    corners = axes.collections[0].get_paths()[0].vertices
    for step, noise in zip(report.taylor.steps, report.taylor.noise, strict=True):
        assert corners[corners[:, 0] == step, 1].max() == noise
    assert "round-off" in texts(axes)


def test_steps_that_leave_nothing_or_nothing_finite_have_no_point():
    remainders = (np.inf, np.nan, *(h**2 for h in STEPS[2:-1]), 0.0)
    taylor = Taylor(STEPS, remainders, (1e-17,) * len(STEPS))
    axes = plots.gradcheck(replace(CASES["right"](), taylor=taylor)).axes[0]
    np.testing.assert_array_equal(lines(axes)[0], [STEPS[2:-1], remainders[2:-1]])
    np.testing.assert_allclose(lines(axes)[2], lines(axes)[0])


def test_of_a_linear_function_there_is_round_off_and_no_guide():
    report = CASES["linear"]()
    axes = plots.gradcheck(report).axes[0]
    assert len(axes.lines) == 1
    verdict, round_off = texts(axes)
    assert " ".join(verdict.split()) == report.taylor.verdict
    assert round_off == "round-off"


def test_where_nothing_at_all_is_left_over_it_is_said_so():
    nothing = Taylor(STEPS, (0.0,) * len(STEPS), (0.0,) * len(STEPS))
    figure = plots.gradcheck(replace(CASES["right"](), taylor=nothing))
    rendered(figure)
    (words,) = texts(figure.axes[0])
    assert " ".join(words.split()) == nothing.verdict


def test_at_a_kink_it_is_said_that_there_is_no_order_test():
    axes = plots.gradcheck(CASES["at a kink"]()).axes[0]
    assert (title(axes), texts(axes)) == ("Order test", ["not done: at a kink the slope jumps"])


# The Jacobians


def test_the_colours_are_the_jacobian_by_the_pullback_less_the_right_one():
    axes = plots.gradcheck(CASES["by a factor"]()).axes[1]
    error, (low, high) = shown(axes)
    np.testing.assert_allclose(error, np.diag(2 * X.ravel()), atol=1e-14)
    np.testing.assert_allclose([-low, high], 2 * np.abs(X).max())
    assert title(axes).splitlines()[0] == "argument 0 (x): WRONG"
    assert "factor 2 everywhere" in title(axes)


def test_rows_are_elements_of_the_value_and_columns_are_elements_of_the_input():
    error, _ = shown(plots.gradcheck(CASES["transposed"]()).axes[1])
    one = np.eye(4)
    want = np.einsum("il,kj->ikjl", X, one) - np.einsum("ij,kl->ikjl", X, one)
    np.testing.assert_allclose(error, want.reshape(12, 16), atol=1e-13)


@pytest.mark.parametrize("case", ["by a factor", "sum", "a number", "wrong at a kink"])
def test_the_element_that_is_furthest_off_has_a_ring_and_both_its_numbers(case):
    report = CASES[case]()
    axes, (error,) = plots.gradcheck(report).axes[1], report.jacobian_errors
    at = ring(axes)
    assert np.abs(error).max() == np.abs(error[at])
    right = report.arguments[0].jacobian[at]
    numbers = f"{right + error[at]:.4g} by the pullback, {right:.4g} by the oracle"
    assert axes.get_xlabel().splitlines()[1] == f"○ worst: {numbers}".replace("-", "−")


def test_the_one_element_that_is_wrong_is_the_one_that_is_coloured():
    axes = plots.gradcheck(CASES["one element"]()).axes[1]
    coloured = np.abs(shown(axes)[0]) > 1e-6 * shown(axes)[1][1]
    np.testing.assert_array_equal(np.argwhere(coloured), [[6, 6]])
    assert ring(axes) == (6, 6)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_round_off_in_a_right_jacobian_is_white(scale):
    report = tv.gradcheck(square(2), scale * X)
    (jacobian,) = (argument.jacobian for argument in report.arguments)
    round_off = 1e-7 * np.abs(jacobian).max() * RNG.uniform(-1, 1, jacobian.shape)
    axes = plots.gradcheck(replace(report, jacobian_errors=(round_off,))).axes[1]
    assert (colours(axes) == 255).all()
    assert axes.get_xlabel().endswith("\nwhite: no error")
    np.testing.assert_allclose(shown(axes)[1], [-np.abs(jacobian).max(), np.abs(jacobian).max()])


def test_a_wrong_gradient_is_in_full_colour_however_little_it_is_off():
    axes = plots.gradcheck(tv.gradcheck(square(2 + 2e-6), X)).axes[1]
    error, (low, high) = shown(axes)
    assert high == -low == np.abs(error).max() == pytest.approx(2e-6 * np.abs(X).max(), rel=1e-6)


def test_a_wrong_use_of_the_upstream_that_no_jacobian_shows_is_said_so():
    axes = plots.gradcheck(CASES["g ignored"]()).axes[1]
    assert (colours(axes) == 255).all()
    assert not axes.lines
    assert "wrong in its use of g" in axes.get_xlabel()


def test_at_a_kink_what_is_right_is_grey_and_what_is_wrong_is_coloured():
    right, wrong = (plots.gradcheck(CASES[case]()) for case in ("at a kink", "wrong at a kink"))
    np.testing.assert_array_equal(np.argwhere(shown(right.axes[1])[0].mask), [[1, 1]])
    assert right.axes[1].get_xlabel().endswith("grey: at a kink")
    assert "kink at (1,)" in title(right.axes[1])
    assert {bytes(rgb) for rgb in inside(right, right.axes[1])[:, 300]} >= {
        b"\xff" * 3,
        b"\xd4" * 3,
    }
    assert not np.ma.getmaskarray(shown(wrong.axes[1])[0]).any()
    assert ring(wrong.axes[1]) == (1, 1)


def test_what_is_too_large_for_a_picture_is_told_with_its_worst_element():
    report = CASES["large"]()
    (words,) = texts(plots.gradcheck(report).axes[1])
    assert words.startswith("not drawn: the value or an input has\nmore than 100 elements")
    for k, verdict in enumerate(["right", "WRONG", "right", "right"]):
        assert f"argument {k}: {verdict}" in words
    a = report.arguments[1]
    numbers = f"{a.pullback:.4g} by the pullback, {a.oracle:.4g} by the oracle".replace("-", "−")
    assert f"worst element {a.index}: {numbers}" in " ".join(words.split())
    assert words.count("worst") == 1


# The whole


def test_wrong_arguments_come_first_and_what_is_left_out_is_counted():
    figure = plots.gradcheck(CASES["many"]())
    wrong = [title(axes).splitlines()[0] for axes in figure.axes[1:]]
    assert wrong == [f"argument {k}: WRONG" for k in (1, 3, 4, 6)]
    written = figure.get_suptitle().splitlines()
    assert written == ["Gradient check: WRONG", "arguments not shown: 4, right among them: 3"]


def test_the_pictures_of_arguments_are_their_own_in_whatever_order_they_stand():
    report = tv.gradcheck(product(1), *factors(3))
    figure = plots.gradcheck(report)
    for axes, k in zip(figure.axes[1:], (1, 0, 2), strict=True):
        assert title(axes).startswith(f"argument {k}")
        np.testing.assert_array_equal(shown(axes)[0], report.jacobian_errors[k])


@pytest.mark.parametrize("case", ["g ignored", "g changed", "not deterministic"])
def test_what_is_wrong_with_the_function_as_a_whole_is_written_on_top(case):
    report = CASES[case]()
    written = " ".join(plots.gradcheck(report).get_suptitle().split())
    assert written == " ".join(["Gradient check: WRONG", *report.problems])


def test_the_title_has_the_verdict():
    assert plots.gradcheck(CASES["right"]()).get_suptitle() == "Gradient check: right"
    assert plots.gradcheck(CASES["by a factor"]()).get_suptitle() == "Gradient check: WRONG"
    report = CASES["right"]()
    unsure = replace(report, arguments=(replace(report.arguments[0], verdict="CANNOT TELL"),))
    assert plots.gradcheck(unsure).get_suptitle() == "Gradient check: CANNOT TELL"


QUICK = ("transposed", "not deterministic")
EVERY = [pytest.param(case, marks=[pytest.mark.slow] * (case not in QUICK)) for case in CASES]


@pytest.fixture(scope="module", params=EVERY)
def picture(request):
    """The figure of every case, with its pixels and what measures its words."""
    figure = plots.gradcheck(CASES[request.param]())
    return figure, rendered(figure), FigureCanvasAgg(figure).get_renderer()


def test_no_panel_is_empty(picture):
    for axes in picture[0].axes:
        assert axes.get_images() or axes.lines or texts(axes)


def words_of(figure):
    """All that is written, the numbers along an axis and its label together."""
    yield figure.texts[0]
    for axes in figure.axes:
        yield from axes.texts
        yield from (t for t in axes.findobj(Text) if t.get_text() == title(axes) != "")
        if axes.axison:
            yield from (axes.xaxis, axes.yaxis, *axes.child_axes[:1])


def test_no_words_overlap(picture):
    figure, _, renderer = picture
    boxes = [words.get_tightbbox(renderer) for words in words_of(figure)]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_nothing_is_cut_off_at_the_border(picture):
    pixels = picture[1]
    for border in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert (border == 255).all()


def test_no_line_runs_through_the_words_of_the_order_test(picture):
    figure, _, renderer = picture
    axes = figure.axes[0]
    for text, line in itertools.product(axes.texts, axes.lines):
        drawn = axes.transData.transform_path(line.get_path())
        assert not drawn.intersects_bbox(text.get_window_extent(renderer), filled=False)


def test_the_picture_goes_by_the_same_name_as_the_check():
    assert callable(plots.gradcheck)
    assert tv.gradcheck is not plots.gradcheck
    assert bool(tv.gradcheck(square(2), X))


@pytest.mark.slow
def test_a_picture_needs_no_display_and_no_pyplot(tmp_path):
    script = (
        "import sys, numpy as np, tinyvae as tv\n"
        "report = tv.gradcheck(np.exp, np.ones(2), pullback=lambda g, x: g)\n"
        f"tv.plots.save(tv.plots.gradcheck(report), {str(tmp_path / 'check.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True)
    assert (tmp_path / "check.png").read_bytes().startswith(b"\x89PNG")
