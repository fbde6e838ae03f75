"""What is compared with other libraries is everything, and the comparison can fail."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import numpy as np
import pytest
from comparison import TABLE, assert_close

from tinyvae.autograd import OPS


def options() -> Iterator[tuple[str, inspect.Parameter]]:
    for name, op in OPS.items():
        parameters = inspect.signature(op).parameters.values()
        yield from ((name, p) for p in parameters if p.kind is p.KEYWORD_ONLY)


def test_every_op_is_compared() -> None:
    assert TABLE.keys() == OPS.keys()


def test_every_option_is_compared_set_and_unset() -> None:
    for name, option in options():
        given = [case.options.get(option.name, option.default) for case in TABLE[name]]
        assert any(value is not option.default for value in given), (name, option)
        if option.default is not option.empty:
            assert any(value is option.default for value in given), (name, option)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_an_error_of_one_element_is_seen_whatever_the_scale(scale: float) -> None:
    wanted = scale * np.array([1.0, -2.0, 1e-3])
    assert_close(wanted * (1 + 1e-11), wanted)
    for k in range(3):
        with pytest.raises(AssertionError):
            assert_close(wanted * (1 + 1e-9 * (np.arange(3) == k)), wanted)
    for wrong in (wanted * 0, -wanted, wanted[::-1], wanted[:, None]):
        with pytest.raises(AssertionError):
            assert_close(wrong, wanted)
