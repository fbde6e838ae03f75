"""NumPy: arrays on the host."""

from __future__ import annotations

import numpy as np

from tinyvae.backend.base import Backend
from tinyvae.backend.numpy_kernels import KERNELS, keep_freed_memory
from tinyvae.backend.recording import Recording, host_array


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
    )
