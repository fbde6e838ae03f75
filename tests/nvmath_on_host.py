"""nvmath-python's own bindings, on the host's libraries: run as a script, in a process of its own.

The bindings ask a driver for its version and look for cuBLASLt by its name; both are found here,
since a library that is loaded already is taken before any other of its name.
"""

from __future__ import annotations

import functools
import inspect

import cublas_on_host
from products_checks import check_all

from tinyvae.backend import cuda_products


def main() -> None:
    """Compare the signatures, then all that `Products` does."""
    cublas_on_host.library("libcuda.so.1", "-DDRIVER")
    cublas_on_host.library = functools.partial(cublas_on_host.library, "libcublasLt.so.12")
    cublas_on_host.library()

    from nvmath.bindings import cublasLt  # after what it is to find

    for part in cublas_on_host.BINDINGS:
        real = getattr(cublasLt, part.__name__)
        if inspect.isfunction(part):
            assert list(inspect.signature(real).parameters) == [*inspect.signature(part).parameters]
        elif issubclass(part, int):
            assert {member.name: real[member.name] for member in part} == dict(part.__members__)
    check_all(cuda_products, routes=["nvmath"])


if __name__ == "__main__":
    main()
