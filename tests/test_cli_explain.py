"""`tinyvae check --explain NAME`: what it prints, how it ends, and what it says to other names."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import refused, tinyvae

from tinyvae.autograd import op
from tinyvae.evaluation.cases import CASES


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory: what is needed comes with the package."""
    monkeypatch.chdir(tmp_path)


def test_it_prints_the_formula_the_check_and_the_tests_that_prove_it():
    finished = tinyvae("check", "--explain", "kl_gaussian")
    assert finished.code == 0
    lines = finished.out.splitlines()
    assert lines[0] == "kl_gaussian, a derivation"
    assert "    KL = E_q[log q(z) - log p(z)]" in lines  # brackets are no markup
    assert sum(" right " in line for line in lines) == 8
    assert any(line.endswith("slope 2.00: the gradient is right") for line in lines)
    assert any("tests/oracles/" in line and "divergence" in line for line in lines)
    assert any(line.startswith("PyTorch (tests/") for line in lines)
    assert "caught: " in lines[-2]
    assert max(map(len, lines[: lines.index("Order test")])) <= 100


def test_the_seed_draws_other_points():
    seeds = [tinyvae("check", "--explain", "exp", "--seed", seed).out for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_it_fails_where_the_gradient_is_wrong(monkeypatch: pytest.MonkeyPatch):
    square = op(lambda x: (x * x, lambda g: g * x))
    monkeypatch.setitem(CASES, "exp", [(square, *CASES["exp"][0][1:])])
    finished = tinyvae("check", "--explain", "exp")
    assert finished.code == 1
    assert "WRONG" in finished.out


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("kl_gausian", "no derivation or op is called 'kl_gausian'; did you mean 'kl_gaussian'? "),
        ("cross_entropy", "did you mean 'bernoulli_cross_entropy' or "),
        ("kl", "did you mean 'kl_standard_normal' or 'kl_gaussian' or "),
        ("[bold]", "no derivation or op is called '[bold]'; `tinyvae check` lists them all"),
        ("", "no derivation or op is called ''; `tinyvae check` lists them all"),
    ],
)
def test_a_name_that_no_op_has_is_refused_with_those_that_are_near(name: str, answer: str):
    message = refused("check", "--explain", name)
    assert "Invalid value for '--explain': " in message
    assert answer in message
    assert tinyvae("check", "--explain", name).code == 2
