"""The only room that knows which array library is in use."""

from tinyvae.backend import cupy_backend, numpy_backend
from tinyvae.backend.base import Array, Backend, get, mixed, names, of, register, same_shape, use
from tinyvae.backend.recording import NotRecordableError, perform, unwatched

__all__ = [
    "Array",
    "Backend",
    "NotRecordableError",
    "get",
    "mixed",
    "names",
    "of",
    "perform",
    "register",
    "same_shape",
    "unwatched",
    "use",
]

register("numpy", numpy_backend.load)
register("cupy", cupy_backend.load)
