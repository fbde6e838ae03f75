"""What a launcher such as `mpiexec` tells the processes that it starts."""

from __future__ import annotations

import os

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # MPICH and its kin; Open MPI
OTHERS = ("PMI_RANK", "PMIX_RANK", "MPI_LOCALNRANKS")


def is_launched() -> bool:
    """Whether `mpiexec`, or a kin of it, started this process."""
    return any(name in os.environ for name in SIZES + OTHERS)


def processes() -> int:
    """How many it says that it started; 0 if none did, or if it does not say."""
    return next((int(os.environ[name]) for name in SIZES if name in os.environ), 0)
