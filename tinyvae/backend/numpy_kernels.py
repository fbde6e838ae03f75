"""One-pass versions of ops for NumPy, each under the name of its reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

KERNELS: dict[str, Callable[..., Any]] = {}
