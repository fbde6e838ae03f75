"""Every planted backend error is caught by the stand-in; the same code without it passes.

``PYTHONPATH=tests python -m planted_backend`` prints each with what the stand-in says of it.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest
from planted_backend import PLANTED, Planted, verdict
from planted_backend.planting import KINDS, goes_unseen


@pytest.mark.parametrize("error", PLANTED, ids=lambda error: f"{error.kind}: {error.name}")
def test_the_stand_in_catches_the_error_and_says_what_it_is(error: Planted) -> None:
    assert re.search(error.says, verdict(error.scene, error.wrong))


@pytest.mark.parametrize("error", PLANTED, ids=lambda error: f"without {error.name}")
def test_of_the_same_code_without_the_error_nothing_is_said(error: Planted) -> None:
    assert verdict(error.scene, error.scene.right) == ""


def test_a_hundred_errors_are_planted_each_once_and_some_of_every_kind() -> None:
    kinds = Counter(error.kind for error in PLANTED)
    assert len({error.name for error in PLANTED}) == len(PLANTED) >= 100
    assert kinds.keys() == set(KINDS)
    assert min(kinds.values()) >= 5


def test_nine_of_ten_go_unseen_on_numpy() -> None:
    assert sum(map(goes_unseen, PLANTED)) >= 0.9 * len(PLANTED)
