"""Data sets: the listed ones by name, and one's own from a file or a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinyvae.data.dataset import Dataset, Split

if TYPE_CHECKING:
    from tinyvae.data.registry import Card, cards, load

__all__ = ["Card", "Dataset", "Split", "cards", "load"]


def __getattr__(name: str) -> Any:  # the loaders are imported when a set is asked for
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tinyvae.data import registry

    return getattr(registry, name)
