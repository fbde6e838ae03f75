"""How large a batch the memory of a device has room for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from tinyvae.errors import BackendError
from tinyvae.models.vae import VAE

VECTORS = 9  # copies of the parameters and Adam's two sums: of an epoch's start, and in recording
SAFE = 0.9  # of the memory is planned with; the rest goes to CUDA's libraries and to gaps


def largest_batch(model: VAE, memory: float, samples: int = 1) -> int:
    """How many images a training step can take at most, by an estimate; 0 for not even one.

    A step on a GPU frees nothing before its end, so that it can be repeated as a graph. So
    it holds, for each image, about 4 arrays of the size of the pixels, 9 of the hidden layers
    and 24 of the latent dimensions; a test counts them.

    Parameters
    ----------
    model : VAE
    memory : float
        The bytes that are free before the first step, with the model and the optimiser there.
    samples : int
        Codes that are drawn for an image in a step, each of which takes as much.

    Examples
    --------
    >>> largest_batch(VAE((28, 28), 20, (400,)), 2**30)
    32665
    """
    pixels = (3 + model.likelihood.outputs) * math.prod(model.image_shape)
    numbers = pixels + 9 * sum(model.hidden) + 24 * model.latent
    copies = VECTORS * sum(p.size for p in model.parameters())
    size = 8 if model.dtype == "float64" else 4
    return max(0, int(SAFE * memory - size * copies) // (size * numbers * samples))


@contextmanager
def enough_memory(model: VAE, batch: int, samples: int = 1) -> Iterator[None]:
    """Around all steps of a training: a device without memory is told with a batch that fits.

    Raises
    ------
    BackendError
        In the place of CUDA's error; every other exception passes.
    """
    free = model.backend.free_memory()
    try:
        yield
    except Exception as error:
        if not model.backend.is_full(error):
            raise
        fits = min(largest_batch(model, free, samples), batch // 2)  # since this one did not
        mend = f"a batch of {fits:,} should fit" if fits else "choose smaller hidden layers"
        raise BackendError(
            f"the device ran out of memory at a batch of {batch:,}: before the first step it had "
            f"{free / 2**30:.1f} GB free; {mend}. The last checkpoint is whole"
        ) from error
