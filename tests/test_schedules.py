"""Learning rates as functions of the step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyvae.errors import OptionError
from tinyvae.optim import cosine, exponential, threefold

rates = st.floats(1e-5, 1.0)


@given(start=rates, factor=st.floats(0.1, 1.0), every=st.integers(1, 20))
def test_the_staircase_falls_by_its_factor_after_every_so_many_steps(
    start: float, factor: float, every: int
) -> None:
    found = [exponential(start, factor, every)(step) for step in range(1, 61)]
    wanted = [start * factor**k for k in range(60) for _ in range(every)][:60]
    assert found == pytest.approx(wanted, rel=1e-12)
    assert sorted(found, reverse=True) == found


@given(peak=rates, steps=st.integers(1, 80), part=st.floats(0, 0.99))
def test_the_cosine_climbs_to_its_peak_and_falls_to_0(peak: float, steps: int, part: float) -> None:
    warm_up = int(steps * part)
    found = [cosine(peak, steps, warm_up)(step) for step in range(1, steps + 1)]
    up, down = found[:warm_up], found[warm_up:]
    assert up == pytest.approx([peak * k / warm_up for k in range(1, warm_up + 1)])
    angles = np.linspace(0, math.pi, steps - warm_up + 1)[1:]
    assert down == pytest.approx(list(peak * (1 + np.cos(angles)) / 2), abs=1e-12)
    assert sorted(down, reverse=True) == down
    assert found[-1] == pytest.approx(0.0, abs=1e-15)
    assert cosine(peak, steps, warm_up)(steps + 5) == found[-1]


@pytest.mark.parametrize("warm_up", [-1, 10, 11])
def test_a_warm_up_that_leaves_no_step_is_refused(warm_up: int) -> None:
    with pytest.raises(OptionError, match=f"warm-up of {warm_up} steps must end before 10"):
        cosine(1.0, steps=10, warm_up=warm_up)


def test_the_threefold_staircase_is_that_of_the_iwae_paper() -> None:
    published = [
        1e-4 * round(10 ** (1 - (i - 1) / 7), 1) for i in range(1, 9) for _ in range(3 ** (i - 1))
    ]
    assert [threefold(1e-3)(epoch) for epoch in range(1, 3281)] == pytest.approx(published)
    assert threefold(1e-3, every=5)(21) == pytest.approx(published[4])
    assert threefold(1e-3)(10**6) == pytest.approx(1e-4)
