from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LESSONS = sorted((Path(__file__).parent.parent / "tutorials").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_says_what_it_promises(lesson, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", lesson],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    right, wrong = (done.stdout.count(verdict) for verdict in ("right: argument", "WRONG"))
    assert (right, wrong) == (3, 1)  # of the wrong pullback, the mean's half is right
    losses = [float(line.split()[3]) for line in done.stdout.splitlines() if "-ELBO" in line]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 27
    assert (tmp_path / "first_vae.png").stat().st_size > 10_000
