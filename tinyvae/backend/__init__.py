"""The only room that knows which array library is in use."""

from tinyvae.backend import cupy_backend, numpy_backend
from tinyvae.backend.base import Array, Backend, get, mixed, names, of, register, same_shape, use

__all__ = ["Array", "Backend", "get", "mixed", "names", "of", "register", "same_shape", "use"]

register("numpy", numpy_backend.load)
register("cupy", cupy_backend.load)
