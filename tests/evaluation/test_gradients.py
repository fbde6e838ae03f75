"""The table of `tinyvae check`: complete, quick, repeatable, and able to fail."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinyvae.autograd import DERIVATIONS, OPS, op, ops
from tinyvae.backend.numpy_kernels import KERNELS
from tinyvae.evaluation.cases import CASES, apart, between, normal
from tinyvae.evaluation.gradients import check, check_all
from tinyvae.noise import Noise


@pytest.fixture(scope="module")
def rows():
    return check_all()


def test_there_is_a_row_for_every_op_and_all_pass(rows):
    references = [f"{name} (reference)" for name in sorted(OPS.keys() & KERNELS.keys())]
    assert [row.name for row in rows] == [*CASES, *references]
    assert CASES.keys() == OPS.keys()
    assert all(row.passed and row.error <= row.allowed for row in rows)


def test_a_formula_behind_a_kernel_is_checked_too(monkeypatch):
    good = KERNELS["kl_standard_normal"]

    def wrong(mean, log_variance):
        value, (to_mean, to_log_variance) = good(mean, log_variance)
        return value, (to_mean, lambda g: 2 * to_log_variance(g))

    monkeypatch.setitem(KERNELS, "kl_standard_normal", wrong)
    found = {row.name: row.passed for row in check_all()}
    assert not found["kl_standard_normal"]
    assert found["kl_standard_normal (reference)"]
    assert KERNELS["kl_standard_normal"] is wrong


def test_a_row_says_whether_it_is_a_derivation(rows):
    kinds = {row.name: row.kind for row in rows if "(" not in row.name}
    assert kinds["kl_gaussian"] == "derivation"
    assert kinds["exp"] == "op"
    assert {name for name, kind in kinds.items() if kind == "derivation"} == {*DERIVATIONS}


def test_the_whole_table_takes_less_than_ten_seconds(rows):
    assert 0 < sum(row.seconds for row in rows) < 10


def test_the_elements_are_counted_over_all_inputs_of_all_cases():
    assert check("stack").elements == (6 + 6) + (2 + 2 + 2)
    assert check("exp").elements == 6


def test_a_seed_repeats_its_inputs_and_another_one_draws_others(monkeypatch):
    points = []

    def watched(x):
        points.append(x.numpy())
        return ops.tanh(x)

    monkeypatch.setitem(CASES, "tanh", [(watched, *CASES["tanh"][0][1:])])
    firsts = []
    for seed in (0, 0, 1):
        points.clear()
        assert check("tanh", seed).passed
        firsts.append(points[0])
    assert np.array_equal(firsts[0], firsts[1])
    assert not np.array_equal(firsts[0], firsts[2])


@pytest.mark.parametrize("factor", [-1.0, 2.0, 0.0, 1 / 6, 1 + 1e-5])
def test_a_wrong_pullback_fails_its_row_alone(monkeypatch, factor):
    @op
    def exp(x):
        y = ops.namespace(x).exp(x)
        return y, lambda g: factor * g * y

    monkeypatch.setitem(CASES, "exp", [(exp, *CASES["exp"][0][1:])])
    row = check("exp")
    assert not row.passed
    assert row.error > row.allowed
    assert row.error == pytest.approx(abs(factor - 1) / max(1, abs(factor)), rel=1e-4)
    assert check("log").passed


def test_one_wrong_case_among_right_ones_fails_the_row(monkeypatch):
    @op
    def add(a, b):
        return a + b, (lambda g: g, lambda g: ops.fit(g, b) * 0)

    wrong = (add, normal(2, 3), normal(3))
    monkeypatch.setitem(CASES, "add", [*CASES["add"], wrong, *CASES["add"]])
    assert not check("add").passed


def test_inputs_keep_away_from_kinks_and_ties_by_more_than_the_checker_moves():
    for seed in range(5):
        x = apart(3, 4)(Noise(seed, backend="numpy"))
        y = apart(3, 4, offset=0.75)(Noise(seed + 9, backend="numpy"))
        assert np.abs(x).min() >= 0.1
        assert np.diff(np.sort(x.ravel())).min() >= 0.1
        assert np.abs(x[..., None] - y.ravel()).min() >= 0.1


def test_between_stays_within_its_bounds():
    x = between(-3, -1, 1000)(Noise(0, backend="numpy"))
    assert x.min() >= -3
    assert x.max() < -1
    assert math.isclose(x.mean(), -2, abs_tol=0.1)
