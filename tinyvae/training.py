"""The one call that trains: `fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from tinyvae.data.dataset import Split, as_split
from tinyvae.errors import OptionError
from tinyvae.models.vae import VAE
from tinyvae.parallel import joined
from tinyvae.settings import Progress as Progress
from tinyvae.settings import Row as Row
from tinyvae.settings import Settings as Settings
from tinyvae.trainer import Trainer as Trainer


def fit(
    model: VAE,
    train: Split | np.ndarray,
    valid: Split | np.ndarray | None = None,
    *,
    callbacks: Sequence[Callable[[Progress], object]] = (),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    parallel: str | None = None,
    resident: bool | None = None,
    **settings: Any,
) -> list[Row]:
    """Train a VAE by Adam on the negative ELBO.

    Parameters
    ----------
    model : VAE
        Trained in place, on the backend where it is.
    train, valid : Split or array
        Images to train on, and others to watch: uint8, or float32 in [0, 1], of shape
        (N, H, W) or (N, H, W, 3). Those of a memory-mapped file are read batch by batch.
    callbacks : sequence of callable
        Called with a `Progress` after every step and every epoch; by rank 0 alone.
    checkpoint : path, optional
        A file that holds everything after each epoch, and after Ctrl-C.
    resume : bool
        Go on from ``checkpoint``, to the same numbers bit for bit as without a break.
    parallel : {None, "mpi"}
        ``"mpi"`` where ``mpiexec`` started several processes that all come here: they share
        each batch, to the numbers of one process but for round-off, and rank 0 writes. One
        that raises ends the others, when it ends.
    resident : bool, optional
        Whether the images and all else that a step needs are kept in the memory of the device,
        so that a step is recorded once and repeated as a whole. By default on a GPU where
        they fit into half of what is free.
    epochs, batch : int
        Passes over the images, and images in one step (the last may be smaller).
    learning_rate : float
        Of Adam.
    schedule : {"constant", "threefold"}
        The rate stays; or it falls in stairs of 1, 3, 9, ... epochs, to a tenth in the seventh
        (`tinyvae.optim.threefold`).
    beta : float
        Weight of the KL in the loss; what is logged has weight 1.
    warm_up : int
        Epochs over which the weight of the KL rises to ``beta`` in equal stairs.
    free_bits : float
        Nats that each latent dimension may use for free; see `negative_elbo`.
    patience : int
        Stop when the validation loss has not improved for so many epochs, and go back to
        the best ones' parameters; 0 never stops.
    clip : float
        Largest Euclidean norm of the gradient; 0 for none.
    binarise : {"none", "static", "dynamic"}
        Grey pixels as they are; drawn black or white once; or drawn anew each time.
    seed : int
        Of all that is random in training.
    noise : {"host", "device"}
        Where the noise of the steps is drawn: on the host, the same for every backend; or by the
        device's own generator, which is quicker for large batches on a GPU, and needs
        ``resident``.

    Returns
    -------
    list of dict
        For each epoch: epoch, beta, train_loss, train_reconstruction, train_kl (averages over the
        epoch's steps), valid_loss, valid_reconstruction, valid_kl (after it), active_units and
        kl_per_dimension (on the validation images; without any, on the first 1,000 to
        train on). In nats per image; the loss is the sum of both.

    Raises
    ------
    DataError, ShapeError
        Pixels outside [0, 1], or images of another shape than the model's; or a file of images
        that has changed, or cannot be read, at which the last checkpoint stays.
    GraphError
        The loss depends on something that has changed, and that is neither an argument nor a
        number, a list or an array that the model has as an attribute. Steps are repeated as they
        were written down, and compared with the step itself now and then, and before an
        epoch is logged.
    NonFiniteError
        A NaN or an infinity, naming the op and the tensor that made it first; the model
        is put back to where the epoch began, and the last checkpoint stays.
    ParallelError
        The processes were not started together, or differ in settings, images or model.

    Examples
    --------
    >>> images = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    >>> history = fit(VAE((2, 2), hidden=(8,)), images, epochs=2, batch=2)
    >>> [row["epoch"] for row in history]
    [1, 2]
    """
    path = None if checkpoint is None else Path(checkpoint)
    known = [field.name for field in fields(Settings)]
    if unknown := sorted(settings.keys() - set(known)):
        raise OptionError(f"fit has no setting {unknown[0]!r}; its settings: {', '.join(known)}")
    if resident not in (None, True, False):
        raise OptionError(f"resident is True, False, or None to let it choose, not {resident!r}")
    with joined(parallel) as group:
        group.agree({"resume": resume, "checkpoint": path is not None})
        trainer = Trainer(
            model,
            as_split(train),
            None if valid is None else as_split(valid),
            Settings(**settings),
            callbacks,
            path,
            group,
            resident,
        )
        if resume:
            trainer.resume()
        return trainer.run()
