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
