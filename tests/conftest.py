"""What every test has: the backends to run on, and hypothesis's settings."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import cache

import pytest
import standin  # noqa: F401 - makes the backend "standin" known
from hypothesis import HealthCheck, settings

from tinyvae.backend import Backend, get, use
from tinyvae.errors import BackendError

os.environ["MPLBACKEND"] = "Agg"

settings.register_profile(
    "tinyvae",
    deadline=None,
    derandomize=True,
    max_examples=50,
    # The backend is the same for every example of a test, so one fixture may serve them all.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("tinyvae")


@cache
def why_not(name: str) -> str | None:
    """The reason that a backend cannot be had here."""
    try:
        with warnings.catch_warnings(action="ignore"):  # CuPy warns where CUDA is missing
            get(name)
    except BackendError as error:
        return str(error)
    return None


CUPY = pytest.param("cupy", marks=pytest.mark.gpu)


@pytest.fixture(params=["numpy", "standin", CUPY])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend in turn, in use for the length of the test."""
    if reason := why_not(request.param):
        pytest.skip(reason)
    with use(request.param) as chosen:
        yield chosen


LONG_ON_THE_STANDIN = {
    "test_float32.py", "test_large.py", "test_ops_gradients.py", "test_gradcheck.py",
    "test_wrong_gradients.py", "test_kinks.py", "test_exact_gaussian.py", "test_exact_bernoulli.py",
    "test_against_torch_training.py", "test_training_together.py", "test_importance_weights.py",
    "test_gradients_of_parts.py",
    "test_training_by_estimators.py",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick part has these tests on NumPy alone; the whole has them on every backend."""
    for item in items:
        if item.path.name in LONG_ON_THE_STANDIN and "[standin" in item.name:
            item.add_marker(pytest.mark.slow)
