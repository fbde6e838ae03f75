"""NumPy: arrays on the host."""

from __future__ import annotations

import numpy as np

from tinyvae.backend.base import Backend, Kernels
from tinyvae.backend.numpy_kernels import KERNELS, keep_freed_memory
from tinyvae.backend.recording import Recording, host_array
from tinyvae.errors import BackendError

OLDEST_NUMBA = (0, 61)  # the first for NumPy 2.1 and later


def load() -> Backend:
    """The backend of the host; it is always there."""
    keep_freed_memory()
    return Backend(
        "numpy",
        np,
        np.ndarray,
        np.asarray,
        host_array,
        host=True,
        kernels=KERNELS,
        recording=Recording,
        generator=np.random.default_rng,
    )


def load_numba() -> Kernels:
    """The kernels that Numba compiles.

    Raises
    ------
    BackendError
        Numba is missing, too old, does not fit this NumPy, or has no folder to write to.
    """
    install = "pip install --upgrade 'tinyvae[numba]'"
    try:
        import numba
    except ImportError as error:
        raise BackendError(f"kernels 'numba' need Numba, but: {error}; {install}") from error
    if tuple(map(int, numba.__version__.split(".")[:2])) < OLDEST_NUMBA:
        oldest = ".".join(map(str, OLDEST_NUMBA))
        raise BackendError(
            f"kernels 'numba' need Numba {oldest} or newer, not {numba.__version__}; {install}"
        )
    try:
        from tinyvae.backend import numba_kernels
    except RuntimeError as error:  # no folder to keep what is compiled in
        raise BackendError(
            f"kernels 'numba': {error}; name a folder that can be written to in the environment "
            "variable NUMBA_CACHE_DIR"
        ) from error
    return numba_kernels.KERNELS
