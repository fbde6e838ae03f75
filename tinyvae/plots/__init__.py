"""Pictures of what a model sees, makes and has learnt: data in, a matplotlib figure out.

Nothing here needs a display or changes the caller's matplotlib settings: figures are built
without pyplot, and the house style holds only while one is drawn.
"""

from tinyvae.plots.animation import animate
from tinyvae.plots.curves import curves
from tinyvae.plots.gradcheck import gradcheck
from tinyvae.plots.graph import graph
from tinyvae.plots.grids import images, interpolation, manifold, reconstructions
from tinyvae.plots.latent import latent
from tinyvae.plots.style import save

__all__ = [
    "animate",
    "curves",
    "gradcheck",
    "graph",
    "images",
    "interpolation",
    "latent",
    "manifold",
    "reconstructions",
    "save",
]
