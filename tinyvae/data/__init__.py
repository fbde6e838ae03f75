"""Data sets: the listed ones by name, and one's own from a file or a folder."""

from tinyvae.data.dataset import Dataset, Split
from tinyvae.data.registry import Card, cards, load

__all__ = ["Card", "Dataset", "Split", "cards", "load"]
