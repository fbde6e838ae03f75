"""No op without its proof, and no page that tells of another state than that of the source."""

from __future__ import annotations

import importlib.resources
import re
import tomllib
from pathlib import Path
from typing import Any

import make_proofs
import numpy as np
import pytest
from planted.ops.catch import MISSED
from planted.ops.collected import planted
from proved import LIBRARIES, comparisons, count, lacking, record
from sources import ROOT, asked, entry

from tinyvae.autograd import DERIVATIONS, OPS, derivations, op
from tinyvae.backend.numpy_kernels import KERNELS
from tinyvae.evaluation import proofs
from tinyvae.evaluation.cases import CASES

RECORDS = proofs.records()
everywhere = pytest.mark.parametrize("name", OPS)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the source says now, with the planted errors as they were counted last."""
    return {name: record(name, RECORDS.get(name, {}).get("planted")) for name in CASES}


# What must be there


@everywhere
def test_nothing_is_lacking_from_the_formula_to_the_proof(name: str, found: dict[str, Any]):
    assert lacking(name, found[name]) == []


@pytest.mark.parametrize("name", DERIVATIONS)
def test_every_derivation_is_compared_with_each_library(name: str, found: dict[str, Any]):
    assert found[name]["comparisons"].keys() == {*LIBRARIES.values()}


def test_an_op_that_nobody_tests_lacks_everything(monkeypatch: pytest.MonkeyPatch):
    @op
    def cube(x):
        return x**3, lambda g: g * 3 * x**2

    monkeypatch.setitem(OPS, "cube", cube)
    everything = ["formula", "check", "oracles", "comparisons", "planted"]
    assert lacking("cube", record("cube")) == everything


def test_a_derivation_without_a_formula_for_its_slope_lacks_one(monkeypatch: pytest.MonkeyPatch):
    known = RECORDS["kl_gaussian"]
    monkeypatch.setattr(derivations.kl_gaussian, "__doc__", "KL(q || p) = E_q[log q - log p].")
    assert lacking("kl_gaussian", known) == ["formula"]
    monkeypatch.setattr(derivations.kl_gaussian, "__doc__", "The divergence; dKL/dm = r / w.")
    assert lacking("kl_gaussian", known) == []


@pytest.mark.parametrize("part", ["check", "oracles", "comparisons", "planted"])
def test_each_part_is_missed_when_it_is_gone(part: str):
    assert lacking("exp", {**RECORDS["exp"], part: {}}) == [part]


def test_a_planted_error_that_nothing_catches_is_named_as_lacking():
    missed = {**RECORDS["exp"], "planted": {"oracle": 9, MISSED: 1}}
    assert lacking("exp", missed) == ["catch of every planted error"]


def test_while_something_is_lacking_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(OPS, "cube", op(lambda x: (x**3, lambda g: g)))
    monkeypatch.setattr(make_proofs, "recount", lambda name, counted: counted)
    monkeypatch.setattr(Path, "write_text", None)
    assert make_proofs.main([]) > 0
    assert "cube lacks: formula, check" in capsys.readouterr().out


# What is written is so


@pytest.mark.parametrize("path", [proofs.FILE, make_proofs.PAGE], ids=lambda path: path.name)
def test_the_files_are_what_the_source_says_now(path: Path, found: dict[str, Any]):
    new = make_proofs.written(found)[path].splitlines()
    old = path.read_text("utf-8").splitlines()
    changed = [pair for pair in zip(old, new, strict=False) if len({*pair}) == 2]
    assert (changed[:3], len(old)) == ([], len(new)), "python tests/make_proofs.py"


@everywhere
def test_as_many_planted_errors_were_caught_as_there_are(name: str):
    assert sum(RECORDS[name]["planted"].values()) == len(planted(name))


@pytest.mark.slow
@everywhere
def test_the_planted_errors_are_caught_by_what_is_said(name: str):
    assert count(name) == RECORDS[name]["planted"], "python tests/make_proofs.py --recount"


LINKS = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", make_proofs.PAGE.read_text("utf-8"))


def test_every_link_of_the_page_leads_to_a_file_a_heading_or_a_line():
    page = make_proofs.PAGE.read_text("utf-8")
    assert len(LINKS) > 10 * len(OPS)
    for text, target in LINKS:
        file, _, place = target.partition("#")
        if file:
            path = (make_proofs.PAGE.parent / file).resolve()
            assert path.exists(), target
            assert not place or int(place[1:]) <= len(path.read_text("utf-8").splitlines())
        else:
            assert f"\n### {text}\n" in page
            assert text == place


def line(place: str) -> str:
    """The line of a place such as ``tinyvae/autograd/ops.py#L40``."""
    file, _, number = place.partition("#L")
    return (ROOT / file).read_text("utf-8").splitlines()[int(number) - 1].strip()


@everywhere
def test_every_line_that_is_linked_names_the_op_or_what_it_should(name: str):
    known = RECORDS[name]
    assert line(make_proofs.code(name)).startswith(f"def {name}(")
    assert line(known["check"]["at"]).startswith(f'"{name}": [')
    assert line(known["oracles"]["at"]).startswith(f'"{name}": ')
    for definition in known["oracles"]["definitions"]:
        assert line(definition["at"]).startswith(f"def {definition['name']}(")
    for compared in known["comparisons"].values():
        assert f'"{name}"' in line(compared["at"])
        file, _, test = compared["test"].partition("::")
        assert f"\ndef {test}(" in (ROOT / file).read_text("utf-8")


def test_what_words_describe_is_not_said_to_be_derived_by_sympy():
    assert "SymPy" not in comparisons("reshape")
    assert "SymPy" in comparisons("power")


def test_the_data_ship_with_the_package():
    assert importlib.resources.files("tinyvae.evaluation").joinpath("proofs.json").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    data = project["tool"]["setuptools"]["package-data"]["tinyvae"]
    assert str(proofs.FILE.relative_to(ROOT / "tinyvae").as_posix()) in data


# How a test is found


SOURCE = """
TABLE = {**{name: 1 for name in ("exp", "log")}, "tanh": {"sqrt": 2}}
WORDS = ["max", "sum"]
CASES = [name for name in TABLE if name != "log"]
OTHERS = {"abs": 3}
everywhere = pytest.mark.parametrize("case", CASES)

@pytest.mark.parametrize("word", WORDS)
def test_in_words(word): ...

def helper(): return OTHERS["abs"]

@everywhere
def test_first(case): ...

@pytest.mark.parametrize("name", TABLE)
def test_second(name): ...
"""


def test_the_test_of_an_op_is_the_first_that_is_run_over_a_table_with_it(tmp_path: Path):
    path = tmp_path / "test_source.py"
    path.write_text(SOURCE)
    assert asked(path) == dict.fromkeys(["exp", "log", "tanh", "sqrt"], "test_first")
    where = entry("tanh", [path])
    assert where is not None
    assert (where.line, entry("max", [path])) == (2, None)


# The explanation


@pytest.mark.parametrize("name", [*DERIVATIONS, "matmul", "relu", "getitem"])
def test_an_explanation_goes_from_the_formula_to_the_planted_errors(name: str):
    (head, formula), (_, code), *rest = proofs.explain(name).sections
    assert head.startswith(f"{name}, ")
    assert formula.splitlines()[0] == OPS[name].__doc__.splitlines()[0]
    assert "Parameters" not in formula
    file, _, number = code.rpartition(":")
    assert f"def {name}(" in Path(file).read_text("utf-8").splitlines()[int(number) - 1]
    titles = ["Gradient", "Order", "Its value", "Formula", "Errors"]
    kernel = ["Gradient"] if name in KERNELS else []
    starts = zip([*kernel, *titles], rest, strict=True)
    assert all(title.startswith(start) for start, (title, _) in starts)


@pytest.mark.parametrize("name", ["kl_gaussian", "exp", "getitem"])
def test_an_explanation_has_a_line_for_every_argument_of_every_case(name: str):
    explanation = proofs.explain(name, seed=3)
    lines = explanation.sections[2][1].splitlines()[2:]
    assert explanation.passed
    assert len(lines) == sum(len(case) - 1 for case in CASES[name])
    assert all(" right " in line for line in lines)


def test_an_explanation_shows_the_slope_of_what_is_bent_and_says_what_is_linear():
    assert "slope 2.00: the gradient is right" in proofs.explain("exp").sections[3][1]
    assert proofs.explain("add").sections[3][1].startswith("nothing is left over")


def test_a_wrong_gradient_is_found_while_it_is_explained(monkeypatch: pytest.MonkeyPatch):
    @op
    def tanh(x):
        y = np.tanh(x)
        return y, lambda g: 2 * g * (1 - y * y)

    monkeypatch.setitem(CASES, "tanh", [(tanh, *CASES["tanh"][0][1:])])
    explanation = proofs.explain("tanh")
    assert not explanation.passed
    assert "0 (x)                   WRONG" in explanation.sections[2][1]
    assert "factor" in explanation.sections[2][1]
    assert "slope 1.00: the gradient is wrong" in explanation.sections[3][1]


def test_the_formula_and_the_kernel_in_its_place_are_checked_each(monkeypatch: pytest.MonkeyPatch):
    good = KERNELS["kl_standard_normal"]

    def wrong(mean, log_variance):
        value, (to_mean, to_log_variance) = good(mean, log_variance)
        return value, (to_mean, lambda g: -to_log_variance(g))

    monkeypatch.setitem(KERNELS, "kl_standard_normal", wrong)
    explanation = proofs.explain("kl_standard_normal")
    formula, kernel = (text for title, text in explanation.sections if "Gradient" in title)
    assert "WRONG" not in formula
    assert kernel.count("WRONG") == 2
    assert not explanation.passed
    assert KERNELS["kl_standard_normal"] is wrong


def test_an_op_that_is_in_the_making_is_explained_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(proofs, "records", dict)
    titles = [title for title, _ in proofs.explain("exp").sections]
    assert titles == ["exp, an op", "Code", "Gradient check, seed 0", "Order test"]


def test_a_name_that_no_op_has_is_answered_with_those_that_are_near():
    assert proofs.unknown("kl_gaussian") == ""
    assert "did you mean 'kl_gaussian'? " in proofs.unknown("kl_gausian")
    assert "did you mean 'kl_standard_normal' or 'kl_gaussian' or 'kl_" in proofs.unknown("KL")
    assert "did you mean" not in proofs.unknown("dropout")
    assert "did you mean" not in proofs.unknown("")
