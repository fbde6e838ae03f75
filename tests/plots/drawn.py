"""What the tests of pictures look with."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.datasets import load_digits

DIGITS = load_digits().images / 16.0
CLASSES = load_digits().target


def rendered(figure):
    """The pixels on the screen, (H, W, 3), as bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def history(epochs, dimensions=4, valid=True):
    def one(epoch):
        per_dimension = [epoch * k / dimensions for k in range(dimensions)]
        parts = ("train", "valid") if valid else ("train",)
        terms = {"loss": 200.0 / epoch + 7, "reconstruction": 200.0 / epoch, "kl": 7.0}
        losses = {f"{part}_{key}": v for part in parts for key, v in terms.items()}
        units = {"active_units": dimensions - 1, "kl_per_dimension": per_dimension}
        return {"epoch": epoch, **losses, **units}

    return [one(epoch) for epoch in range(1, epochs + 1)]


def texts(axes):
    return [text.get_text() for text in axes.texts]
