"""What other projects test their gradients with."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from tinyvae.autograd import ops
from tinyvae.errors import MissingExtraError, OptionError
from tinyvae.testing import assert_gradients, points

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])


def cube(factor):
    return lambda x: (x**3, lambda g: g * factor * x**2)


def test_a_right_gradient_gives_its_report():
    report = assert_gradients(cube(3), X, float32=True)
    assert report.arguments[0].verdict == "right"


def test_a_wrong_gradient_fails_with_the_report_as_its_message():
    with pytest.raises(AssertionError, match=r"not surely right\nWRONG: argument 0 \(x\), worst"):
        assert_gradients(cube(2), X)


def test_an_assertion_takes_the_options_of_gradcheck():
    with pytest.raises(AssertionError, match="WRONG"):
        assert_gradients(np.exp, X, pullback=lambda g, x: g)
    assert_gradients(cube(3.001), X, tolerance=1e-2)


@given(points("bi", "io", "o"))
def test_points_of_equal_letters_have_equal_lengths_and_different_ones_differ(inputs):
    x, weight, bias = inputs
    assert x.shape[1] == weight.shape[0]
    assert weight.shape[1] == bias.shape[0]
    assert len({x.shape[0], x.shape[1], weight.shape[1], 1}) == 4


@given(points("", "1a", "a1", low=-1, high=2))
def test_points_are_float64_within_their_bounds_with_axes_of_1_and_numbers(inputs):
    assert [x.ndim for x in inputs] == [0, 2, 2]
    assert inputs[1].shape == inputs[2].shape[::-1] == (1, len(inputs[2]))
    for x in inputs:
        assert x.dtype == np.float64
        assert x.min() >= -1
        assert x.max() <= 2


@settings(max_examples=15)
@given(points("bi", "io", "o"))
def test_a_layer_is_right_at_every_point(inputs):
    assert_gradients(lambda *xs: ops.relu(ops.affine(*xs)), *inputs)


def test_a_wrong_gradient_is_found_at_the_points():
    @settings(max_examples=5, phases=[Phase.generate])
    @given(points("ab", "b"))
    def slip(inputs):
        assert_gradients(
            lambda a, b: (a + b, (lambda g: g, lambda g: g.mean(axis=0))),
            *inputs,
        )

    with pytest.raises(AssertionError, match="factor"):
        slip()


def test_too_many_letters_and_empty_bounds_are_refused():
    with pytest.raises(OptionError, match="up to 6 letters"):
        points("abcdefg")
    for low, high in ((1, 1), (2, 1), (0, float("inf"))):
        with pytest.raises(OptionError, match="low < high"):
            points("a", low=low, high=high)


def test_without_hypothesis_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tinyvae\[testing\]'"):
        points("a")


PROJECT = """
import numpy as np
from hypothesis import given, settings
from tinyvae.testing import assert_gradients, points

def softplus(x):
    return np.log1p(np.exp(x)), lambda g: g / (1 + np.exp(-x))

def slipped(x):
    return np.log1p(np.exp(x)), lambda g: g / (1 + np.exp(x))

@settings(max_examples=5)
@given(points("bk"))
def test_right(inputs):
    assert_gradients(softplus, *inputs)

def test_wrong():
    assert_gradients(slipped, np.ones((2, 3)))
"""


@pytest.mark.slow
def test_in_another_project_pytest_shows_the_report_and_the_line_that_asserts(tmp_path):
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(PROJECT), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout
    assert "WRONG: argument 0 (x), worst element" in done.stdout
    assert ">   " in done.stdout.split("assert_gradients(slipped")[0].splitlines()[-1]
    assert "raise AssertionError(f" not in done.stdout
