"""Every lesson runs as it stands, and says what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

LESSONS = Path(__file__).parent.parent / "tutorials"


def run(lesson: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", LESSONS / f"{lesson}.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert (folder / f"{lesson}.png").stat().st_size > 10_000
    return done.stdout


@pytest.mark.slow
def test_the_first_vae_checks_its_gradients_and_learns(tmp_path):
    out = run("first_vae", tmp_path)
    right, wrong = (out.count(verdict) for verdict in ("right: argument", "WRONG"))
    assert (right, wrong) == (3, 1)  # of the wrong pullback, the mean's half is right
    losses = [float(line.split()[3]) for line in out.splitlines() if "-ELBO" in line]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 27


@pytest.mark.slow
def test_the_lesson_on_checking_finds_each_slip_and_shows_what_it_cannot_see(tmp_path):
    out = run("check_your_gradients", tmp_path)
    first, second, third, last = re.split(r"^\d\. ", out, flags=re.MULTILINE)[1:]
    assert first.startswith("right: argument 0 (x)")
    assert "WRONG: argument 0 (x)" in first
    assert second.startswith("WRONG: argument 0 (x)")
    assert "factor 2 everywhere" in second
    assert "right: argument 1 (weight)" in second
    assert third.startswith("right: argument 0 (x)")
    assert "WRONG" not in third
    assert "pass: True; the variance asked for is 0.25, drawn 0.06" in last


@pytest.mark.slow
def test_the_lesson_on_sampling_has_the_exact_variances_and_what_they_do_to_a_vae(tmp_path):
    out = run("sampling_and_gradients", tmp_path)
    told = [line.split() for line in out.splitlines() if "variance" in line]
    assert [float(line[-3].rstrip(",")) for line in told] == pytest.approx([4] * 4, abs=0.05)
    assert [float(line[-1]) for line in told] == pytest.approx([87, 42, 38, 4], rel=0.02)
    path, score, leave_one_out = (
        float(re.search(rf"^   {name} +-ELBO ([\d.]+)", out, re.MULTILINE)[1])
        for name in ("elbo", "score", "score-loo")
    )
    assert path < score - 1
    assert leave_one_out < path + 0.5


@pytest.mark.slow
def test_the_lesson_on_a_new_posterior_finds_the_slip_and_trains_with_the_right_one(tmp_path):
    out = run("new_posterior", tmp_path)
    assert "2. the posterior draws from its own density" in out
    assert re.search(r"3\. 1 / q over box .*: they differ by", out)
    log_p = [float(value) for value in re.findall(r"log p\(x\) (-\d+\.\d)", out)]
    assert len(log_p) == 2
    assert abs(log_p[0] - log_p[1]) < 1.5


def test_every_lesson_is_tested():
    tested = Path(__file__).read_text("utf-8")
    assert all(f'"{path.stem}"' in tested for path in LESSONS.glob("*.py"))
