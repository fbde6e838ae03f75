"""The report: what it says in words, as a table in a notebook, and in numbers."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from functions import X, Y, fan, planted, verdicts
from hypothesis import given
from hypothesis import strategies as st

from tinyvae import gradcheck
from tinyvae.autograd import Tensor, ops
from tinyvae.checker import ArgumentReport, GradientReport


def off_by(factor):
    """The square, with a gradient that is wrong by a factor."""
    return lambda x: (x * x, lambda g: 2 * factor * g * x)


def table(report):
    """The rows of the table for a notebook, each as the texts of its cells."""
    page = ElementTree.fromstring(f"<div>{report._repr_html_()}</div>")
    return [["".join(cell.itertext()) for cell in row] for row in page.iter("tr")]


RIGHT = gradcheck(off_by(1), X)
WRONG = gradcheck(off_by(1.5), X)
UNSURE = gradcheck(
    lambda a: (np.array([[float(x) + 1e13 for x in row] for row in a]), lambda g: g), X
)


# Verdicts


@pytest.mark.parametrize(
    ("report", "verdict", "passed"),
    [(RIGHT, "right", True), (WRONG, "WRONG", False), (UNSURE, "CANNOT TELL", False)],
)
def test_a_report_is_true_only_if_all_is_surely_right(report, verdict, passed):
    assert verdicts(report) == [verdict]
    assert report.arguments[0].passed is passed
    assert bool(report) is passed
    assert str(report).startswith(f"{verdict}: argument 0 ({'a' if report is UNSURE else 'x'}), ")


def test_a_problem_of_the_whole_makes_it_false_and_comes_first():
    report = replace(RIGHT, problems=("first", "second"))
    assert not report
    assert str(report).startswith("WRONG: first\nWRONG: second\nright: argument 0")


def test_one_argument_that_is_not_right_makes_it_false():
    report = gradcheck(lambda a, b: (a * b, (lambda g: g * b, lambda g: g * a * 1.1)), X, Y)
    assert verdicts(report) == ["right", "WRONG"]
    assert not report


# Numbers


@given(st.floats(0.1, 10), st.sampled_from([-1, 1]))
def test_the_ratio_is_the_factor_by_which_the_gradient_is_off(size, sign):
    factor = sign * size
    (worst,) = gradcheck(off_by(factor), X).arguments
    assert worst.ratio == pytest.approx(factor, rel=1e-9)
    if abs(factor - 1) > 1e-3:
        expected = abs(factor - 1) / max(1, size)  # the largest of both gradients is the scale
        assert worst.error == pytest.approx(expected, rel=1e-9)


def test_where_the_gradient_should_be_zero_there_is_no_ratio():
    (worst,) = gradcheck(lambda x: (0 * x, lambda g: g), X).arguments
    assert worst.oracle == 0
    assert np.isnan(worst.ratio)
    assert "(ratio nan)" in str(worst)


@pytest.mark.parametrize("seed", range(5))
def test_of_a_number_the_gradient_itself_is_reported_and_not_that_times_the_upstream(seed):
    for value, slope in ((lambda x: (x**3).sum(), 3), (lambda x: (x**3).mean(), 3 / X.size)):
        report = gradcheck(value, X, seed=seed, pullback=lambda g, x, s=slope: 1.25 * s * g * x**2)
        (worst,) = report.arguments
        assert worst.oracle == pytest.approx(slope * X[worst.index] ** 2, rel=1e-12)
        assert worst.pullback == pytest.approx(1.25 * worst.oracle, rel=1e-12)


def test_of_an_array_it_is_the_gradient_of_the_elements_times_one_upstream():
    report = gradcheck(lambda a, b: (a + b, (lambda g: 2 * g, lambda g: 3 * g)), X, Y)
    first, second = report.arguments
    assert first.index == second.index  # that of the largest element of g
    assert first.oracle == second.oracle != 1
    assert (first.ratio, second.ratio) == (pytest.approx(2), pytest.approx(3))


@pytest.mark.parametrize("index", [(0, 0), (1, 3), (2, 1)])
def test_the_worst_element_is_named_by_its_index(index):
    def pullback(g, x):
        gradient = np.cos(x) * g
        gradient[index] += 1e-3 * np.abs(gradient).max()
        return gradient

    (worst,) = gradcheck(np.sin, X, pullback=pullback).arguments
    assert worst.index == index
    assert worst.error == pytest.approx(1e-3, rel=1e-2)
    assert worst.allowed < 1e-6
    assert f"worst element {index}" in str(worst)


def test_every_element_of_a_small_argument_is_counted_and_fewer_of_a_large_one():
    for n in (1, 7, 100):
        assert gradcheck(off_by(1), fan(n)).arguments[0].elements == n
    assert 10 < gradcheck(off_by(1), fan(1000)).arguments[0].elements < 200


def test_an_argument_is_called_by_the_name_of_its_tensor_or_of_the_parameter():
    report = gradcheck(lambda x, b: x * b, Tensor(X, name="logits"), Y)
    assert [argument.label for argument in report.arguments] == [
        "argument 0 (logits)",
        "argument 1 (b)",
    ]
    assert [argument.argument for argument in report.arguments] == [0, 1]


def test_a_check_repeats_and_another_seed_draws_another_upstream():
    first, again, other = (gradcheck(off_by(1.5), X, seed=seed) for seed in (1, 1, 2))
    assert str(first) == str(again)
    assert first.arguments[0].oracle != other.arguments[0].oracle


# Jacobians


@pytest.mark.parametrize("factor", [1, 1.5, -2])
def test_the_jacobians_error_is_what_the_pullback_makes_less_what_is_right(factor):
    (error,) = gradcheck(off_by(factor), X).jacobian_errors
    np.testing.assert_allclose(error, np.diag(2 * (factor - 1) * X.reshape(-1)), atol=1e-14)


def test_every_argument_has_its_jacobian_of_the_values_elements_by_its_own():
    report = gradcheck(ops.matmul, X, Y.T)
    left, right = (argument.jacobian for argument in report.arguments)
    np.testing.assert_allclose(left, np.kron(np.eye(3), Y), atol=1e-14)
    np.testing.assert_allclose(right, np.kron(X, np.eye(3)), atol=1e-14)
    for jacobian, error in zip((left, right), report.jacobian_errors, strict=True):
        np.testing.assert_allclose(error, np.zeros_like(jacobian), atol=1e-14)


def test_a_dropped_sum_shows_in_the_error_of_that_argument_alone():
    wrong = planted(lambda a, b: a + b, lambda a, b, g: g, lambda a, b, g: g[0])
    to_a, to_b = gradcheck(lambda a, b: wrong(a, b), X, Y[0]).jacobian_errors
    assert not to_a.any()
    rows_left_out = -np.tile(np.eye(4), (3, 1))
    rows_left_out[:4] = 0
    np.testing.assert_allclose(to_b, rows_left_out, atol=1e-12)


def test_of_a_number_the_jacobian_is_one_row_and_not_scaled():
    (error,) = gradcheck(
        lambda x: (x * x).sum(), X, pullback=lambda g, x: 3 * g * x
    ).jacobian_errors
    np.testing.assert_allclose(error, X.reshape(1, -1), atol=1e-14)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda a, b: a * b.sum(), (X, fan(101))),
        (lambda a, b: ops.reshape(a, shape=(12, 1)) * b, (X, fan(9))),
    ],
)
def test_there_are_jacobians_of_small_values_and_small_arguments_only(function, inputs):
    report = gradcheck(function, *inputs)
    assert report
    assert report.jacobian_errors == ()


# Words


def test_the_text_has_verdict_element_both_values_ratio_error_and_slip():
    (worst,) = WRONG.arguments
    line, slip = str(worst).split("\n  ")
    assert line.startswith(f"WRONG: argument 0 (x), worst element {worst.index}: the pullback says")
    assert f"says {worst.pullback:.10g}, the oracle {worst.oracle:.10g} (ratio 1.5)" in line
    assert "off by 3.3e-01 of the gradient's largest element, 1.0e-07 allowed" in line
    assert slip == "factor 1.5 everywhere"


@pytest.mark.parametrize(
    ("report", "said"),
    [(RIGHT, "slope 2.00: the gradient is right"), (WRONG, "slope 1.00: the gradient is wrong")],
)
def test_the_order_test_is_printed_below(report, said):
    head, *rows = str(report.taylor).splitlines()
    assert head == f"Taylor remainder under halving of the step: {said}"
    assert rows[0].split() == ["step", "remainder", "slope"]
    assert str(report).endswith(str(report.taylor))


@pytest.mark.parametrize("n", [1, 5, 6])
def test_up_to_five_kinks_are_listed(n):
    report = gradcheck(ops.relu, np.concatenate([np.zeros(n), [0.5, -1.0]]))
    assert report
    assert report.arguments[0].kinks == tuple((k,) for k in range(n))
    (remark,) = report.arguments[0].remarks
    listed = ", ".join(f"({k},)" for k in range(min(n, 5))) + ", ..." * (n > 5)
    assert remark == f"kink at {listed}: any slope between the one-sided ones passes"
    assert report.taylor is None
    assert "Taylor" not in str(report)


def test_a_report_shows_itself_where_it_is_typed():
    assert repr(WRONG) == str(WRONG)


# In a notebook


@pytest.mark.parametrize("report", [RIGHT, WRONG, UNSURE, gradcheck(ops.multiply, X, Y)])
def test_the_notebook_has_a_row_for_every_argument(report):
    head, *rows = table(report)
    assert head[:6] == ["argument", "verdict", "element", "pullback", "oracle", "ratio"]
    assert len(rows) == len(report.arguments)
    for row, a in zip(rows, report.arguments, strict=True):
        assert len(row) == len(head)
        assert row[:3] == [a.label, a.verdict, str(a.index)]
        assert row[3:6] == [f"{a.pullback:.6g}", f"{a.oracle:.6g}", f"{a.ratio:.4g}"]
        assert row[-1] == "; ".join(a.remarks)


def test_the_notebook_has_the_problems_and_the_order_test():
    report = gradcheck(lambda x: (x * x, lambda g: 2 * x), X)
    page = ElementTree.fromstring(f"<div>{report._repr_html_()}</div>")
    paragraphs = ["".join(p.itertext()) for p in page.iter("p")]
    assert paragraphs == [f"WRONG: {problem}" for problem in report.problems]
    assert len(paragraphs) == 2
    assert [pre.text for pre in page.iter("pre")] == [str(report.taylor)]


def test_a_report_without_arguments_has_its_problem_in_the_notebook():
    rng = np.random.default_rng(0)
    report = gradcheck(lambda x: (x * rng.normal(), lambda g: g), X)
    assert len(table(report)) == 1
    assert "<b>WRONG</b>: not deterministic" in report._repr_html_()


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_in_the_notebook_names_and_words_are_escaped(text):
    argument = ArgumentReport(
        0, text, "WRONG", (), 1.0, 2.0, 0.5, 1e-7, 0.0, 1, diagnosis=text, note=text
    )
    report = GradientReport((argument,), (text,))
    row = table(report)[1]
    assert row[0] == text
    assert row[-1] == f"{text}; {text}"
    page = ElementTree.fromstring(f"<div>{report._repr_html_()}</div>")
    assert ["".join(p.itertext()) for p in page.iter("p")] == [f"WRONG: {text}"]


def test_a_tensor_named_like_a_tag_is_escaped():
    report = gradcheck(ops.exp, Tensor(X, name="<b>&"))
    assert table(report)[1][0] == "argument 0 (<b>&)"
    assert "<b>&)" not in report._repr_html_()
