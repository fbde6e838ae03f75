"""CuPy: arrays on an NVIDIA GPU."""

from __future__ import annotations

from typing import Any

from tinyvae.backend import cupy_kernels
from tinyvae.backend.base import Backend
from tinyvae.backend.cupy_capture import Streams
from tinyvae.errors import BackendError

INSTALL = "pip install 'tinyvae[cupy]' (CUDA 12), or pip install cupy-cuda13x (CUDA 13)"


def load() -> Backend:
    """The backend of the GPU, after a kernel and a matrix product have run on it.

    Raises
    ------
    BackendError
        CuPy is not installed, no GPU answers, or a part of CUDA is missing.
    """
    try:
        import cupy
    except ImportError as error:
        raise BackendError(f"backend 'cupy' needs CuPy; it is not installed: {INSTALL}") from error
    _probe(cupy)
    streams = Streams(cupy)
    return Backend(
        "cupy",
        cupy,
        cupy.ndarray,
        streams.from_host,
        cupy.asnumpy,
        lambda: cupy.cuda.get_current_stream().synchronize(),
        kernels=cupy_kernels.load(cupy),
        recording=streams.recording,
        free_memory=lambda: _free_memory(cupy),
        aside=streams.aside,
        join=streams.join,
    )


def _probe(cupy: Any) -> None:
    """Try what every step needs, since a device can be there without NVRTC or cuBLAS."""
    if not cupy.cuda.is_available():
        raise BackendError(
            "backend 'cupy' found no NVIDIA GPU that answers; use --backend numpy, or check "
            "with `nvidia-smi` that the driver runs"
        )
    try:
        ones = cupy.ones((2, 2), dtype="float32")
        float((ones @ ones + ones).sum())
    except Exception as error:  # CUDA's errors share no base class
        raise BackendError(
            f"backend 'cupy' found a GPU, but a test kernel failed ({error}); install CUDA's "
            f"libraries beside CuPy: pip install 'cupy-cuda12x[ctk]'"
        ) from error


def _free_memory(cupy: Any) -> float:
    """What no program has taken, and what CuPy has taken and nobody uses."""
    free, _ = cupy.cuda.runtime.memGetInfo()
    return float(free + cupy.get_default_memory_pool().free_bytes())
