"""How large a batch the memory of a device has room for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from tinyvae.errors import BackendError
from tinyvae.models.vae import VAE

VECTORS = (
    8  # as long as all parameters: they, their gradient, Adam's two, the best, a copy of three
)
SAFE = 0.9  # of the memory is planned with; the rest goes to CUDA's libraries and to gaps


def largest_batch(model: VAE, memory: int, images: int = 0) -> int:
    """How many images a training step can take at most, by an estimate; 0 for not even one.

    A step on a GPU frees nothing before its end, so that it can be repeated as a graph. So
    it holds, for each image, about 4 arrays of the size of the pixels, 9 of the hidden layers
    and 24 of the latent dimensions; a test counts them.

    Parameters
    ----------
    model : VAE
    memory : int
        In bytes, what there is for the model, its step and the images.
    images : int
        The bytes of the images, if they stay on the device.

    Examples
    --------
    >>> largest_batch(VAE((28, 28), 20, (400,)), 2**30)
    32756
    """
    numbers = 4 * math.prod(model.image_shape) + 9 * sum(model.hidden) + 24 * model.latent
    held = VECTORS * sum(p.size for p in model.parameters())
    size = 8 if model.dtype == "float64" else 4
    return max(0, int(SAFE * memory - images - size * held) // (size * numbers))


@contextmanager
def enough_memory(model: VAE, batch: int, images: int) -> Iterator[None]:
    """Within the block, a device without memory is told with the batch that should fit.

    Raises
    ------
    BackendError
        In the place of CUDA's error; every other exception passes.
    """
    backend = model.backend
    try:
        yield
    except Exception as error:
        if backend.memory is None or not backend.is_full(error):
            raise
        free, total = backend.memory()
        fits = min(largest_batch(model, free, images), batch // 2)  # since this one did not
        mend = f"a batch of {fits:,} should fit" if fits else "choose smaller hidden layers"
        raise BackendError(
            f"the device ran out of memory at a batch of {batch:,}: of its {total / 2**30:.1f} GB "
            f"{free / 2**30:.1f} are there for this training; {mend}. The last checkpoint is whole"
        ) from error
