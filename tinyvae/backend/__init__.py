"""The only room that knows which array library is in use."""

from tinyvae.backend import cupy_backend, numpy_backend
from tinyvae.backend.base import (
    Array,
    Backend,
    best,
    get,
    mixed,
    mixture_shapes,
    names,
    of,
    once,
    precision,
    register,
    register_kernels,
    same_shape,
    use,
    ways,
)
from tinyvae.backend.recording import perform, refuse_to_record, unwatched

__all__ = [
    "Array",
    "Backend",
    "best",
    "get",
    "mixed",
    "mixture_shapes",
    "names",
    "of",
    "once",
    "perform",
    "precision",
    "refuse_to_record",
    "register",
    "register_kernels",
    "same_shape",
    "unwatched",
    "use",
    "ways",
]

register("numpy", numpy_backend.load)
register("cupy", cupy_backend.load)
register_kernels("numba", numpy_backend.load_numba)
