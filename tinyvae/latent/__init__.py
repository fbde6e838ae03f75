"""Using the latent space: paths, how smooth they are, attributes, and what a walk leaves alone."""

from tinyvae.latent.attributes import Attributes, attribute_vector
from tinyvae.latent.measures import Smoothness, nearest, smoothness, unlikeness
from tinyvae.latent.paths import fade, linear, spherical, traversals
from tinyvae.latent.readers import Leakage, Readers, leakage
from tinyvae.latent.walks import AttributeWalk, attribute_walk, between, decoded

__all__ = [
    "AttributeWalk",
    "Attributes",
    "Leakage",
    "Readers",
    "Smoothness",
    "attribute_vector",
    "attribute_walk",
    "between",
    "decoded",
    "fade",
    "leakage",
    "linear",
    "nearest",
    "smoothness",
    "spherical",
    "traversals",
    "unlikeness",
]
