"""Using the latent space: paths, how smooth they are, attributes, and what a walk leaves alone."""

from tinyvae.latent.attributes import Attributes, attribute_vector
from tinyvae.latent.leakage import Leakage, Readers, leakage
from tinyvae.latent.paths import fade, linear, spherical, traversals
from tinyvae.latent.smoothness import Smoothness, nearest, smoothness, unlikeness

__all__ = [
    "Attributes",
    "Leakage",
    "Readers",
    "Smoothness",
    "attribute_vector",
    "fade",
    "leakage",
    "linear",
    "nearest",
    "smoothness",
    "spherical",
    "traversals",
    "unlikeness",
]
