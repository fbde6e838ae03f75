"""Whole training steps that wait for the device, look at it, or draw on the host."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import tinyvae as tv
from planted_backend.planting import Planted, beside_a_step, in_a_step, planted_in
from tinyvae.autograd import Tensor, trace_non_finite
from tinyvae.backend import Array
from tinyvae.objectives import Terms, check_pixels, elbo, negative_elbo
from tinyvae.training import Trainer

ERRORS: list[Planted] = []
planted = partial(planted_in, ERRORS)
STEP = in_a_step(Trainer.train_step)
LOSS = in_a_step(negative_elbo, tv.training, "negative_elbo")
FREE = in_a_step(elbo.free_kl, elbo, "free_kl", free_bits=0.2)


# Looks at what is on the device


@planted(STEP, "wait", "waits: float")
def loss_compared_with_the_best(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    if terms.loss < 1e3:
        trainer.best = terms
    return terms


@planted(STEP, "wait", "waits: format")
def loss_shown_after_each_step(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    trainer.line = f"step {trainer.state.step}: {terms.loss.array:.3f}"
    return terms


@planted(STEP, "wait", "waits: repr")
def gradient_shown_after_each_step(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    trainer.line = str(trainer.state.optimiser.flat.gradients[:3])
    return terms


@planted(STEP, "wait", "waits: float")
def history_of_numbers(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    trainer.history = [float(terms.kl.array.mean())]
    return terms


@planted(STEP, "wait", "waits: item")
def total_added_up_on_the_host(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    trainer.total = sum(part.array.sum().item() for part in (terms.kl, terms.reconstruction))
    return terms


@planted(STEP, "wait", "waits: tolist")
def divergences_kept_as_a_list(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    trainer.history = terms.kl.array.tolist()
    return terms


@planted(STEP, "wait", "waits: to_host")
def codes_fetched_for_a_picture(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    trainer.codes = terms.reconstruction.numpy()
    return terms


@planted(STEP, "wait", "waits: float, float")
def pixels_checked_in_each_step(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    check_pixels(x.array)
    return trainer.train_step(x, noise)


@planted(STEP, "wait", "waits: bool, bool")
def every_op_traced(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    with trace_non_finite():
        return trainer.train_step(x, noise)


@planted(STEP, "wait", "waits: bool")
def parameters_read_by_the_door_for_writing(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    """``data`` keeps a copy, with which the values are compared when they are used next."""
    trainer.length = sum((p.data * p.data).sum() for p in trainer.model.parameters())
    return trainer.train_step(x, noise)


@planted(STEP, "wait", "waits: synchronize")
def step_timed_to_its_end(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    trainer.model.backend.synchronize()
    return terms


@planted(STEP, "wait", "waits: bool")
def largest_loss_by_python(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    trainer.largest = max(terms.kl.array)
    return terms


@planted(FREE, "wait", "waits: bool")
def free_bits_by_a_branch(model: tv.VAE, parameters: Any, free_bits: float) -> Tensor:
    parts = elbo.kl_per_dimension(model, parameters)
    kept = [part if part.array > free_bits else part * 0 + free_bits for part in parts]
    return sum(kept[1:], kept[0])


@planted(FREE, "wait", "waits: nonzero")
def free_bits_by_the_places_above(model: tv.VAE, parameters: Any, free_bits: float) -> Tensor:
    parts = elbo.kl_per_dimension(model, parameters)
    above = parts.array > free_bits
    [places] = above.nonzero()
    return parts[places].sum() + free_bits * (parts.size - len(places))


# What comes from the host


@planted(STEP, "NumPy operand", "arrays of 'standin' and 'numpy' do not mix")
def noise_of_the_host(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    """For the numbers to be the same on NumPy, it is the same noise."""
    rows, k = noise.shape
    posterior = tv.Noise(0, "posterior", "1", backend="numpy")
    posterior.normal((rows, k))
    return trainer.train_step(x, posterior.normal((rows, k)))


@planted(STEP, "wait", "waits: from_host")
def noise_drawn_and_sent_in_the_step(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    posterior = tv.Noise(0, "posterior", "1", backend=trainer.model.backend)
    rows, k = noise.shape
    posterior.normal((rows, k))
    return trainer.train_step(x, posterior.normal((rows, k)))


@planted(STEP, "NumPy operand", "a NumPy ndarray does not mix")
def rows_shuffled_by_an_order_of_the_host(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    order = np.arange(len(noise))
    return trainer.train_step(Tensor.wrap(x.array[order]), noise[order])


def backwards(trainer: Trainer, x: Tensor, noise: Array) -> Any:
    return [x.array[::-1].copy()]


@planted(in_a_step(backwards), "wait", "waits: list index")
def rows_picked_by_a_list(trainer: Trainer, x: Tensor, noise: Array) -> Any:
    """CuPy sends the list to the device each time."""
    return [x.array[list(reversed(range(len(x))))]]


@planted(STEP, "implicit", "implicit conversion")
def loss_checked_by_numpy(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    assert np.isfinite(np.asarray(terms.loss.array))
    return terms


@planted(STEP, "NumPy call", "does not support ufuncs")
def losses_checked_by_numpy(trainer: Trainer, x: Tensor, noise: Array) -> Terms:
    terms = trainer.train_step(x, noise)
    assert np.isfinite(terms.kl.array).all()
    return terms


def binarised(trainer: Trainer, x: Tensor, noise: Array) -> Any:
    grey = (x.array * 255).astype("uint8")
    return [(grey.astype("float32") / 255 > 0.5)]


@planted(in_a_step(binarised), "float64", "^float64: ")
def bytes_divided_as_they_are(trainer: Trainer, x: Tensor, noise: Array) -> Any:
    grey = (x.array * 255).astype("uint8")
    return [grey / 255 > 0.5]


# Writes into what belongs to the model or to the batch


def squares(model: tv.VAE, *_: Array) -> list[Array]:
    return [(p.array * p.array).sum() for p in model.parameters()]


@planted(beside_a_step(squares), "view", "read-only")
def weights_squared_in_a_flat_view(model: tv.VAE, *_: Array) -> list[Array]:
    sums = []
    for parameter in model.parameters():
        flat = parameter.array.reshape(-1)
        flat *= flat
        sums.append(flat.sum())
    return sums


def columns(model: tv.VAE, *_: Array) -> list[Array]:
    turned = model.decoder.layers[0].weight.array.T
    return [turned / (turned * turned).sum(axis=1)[:, None]]


@planted(beside_a_step(columns), "view", "read-only")
def columns_scaled_in_the_transpose(model: tv.VAE, *_: Array) -> list[Array]:
    turned = model.decoder.layers[0].weight.array.T
    turned /= (turned * turned).sum(axis=1)[:, None]
    return [turned]


def corrupted(model: tv.VAE, pixels: Array, *_: Array) -> list[Array]:
    kept = pixels.copy()
    kept[:, :4] = 0.0
    return [kept]


@planted(beside_a_step(corrupted), "view", "read-only")
def pixels_blackened_through_a_slice(model: tv.VAE, pixels: Array, *_: Array) -> list[Array]:
    kept, edge = pixels, pixels[:, :4]
    edge.fill(0.0)
    return [kept]


def tempered(model: tv.VAE, pixels: Array, noise: Array) -> list[Array]:
    return [0.7 * noise]


@planted(beside_a_step(tempered), "view", "read-only")
def noise_tempered_in_its_block(model: tv.VAE, pixels: Array, noise: Array) -> list[Array]:
    """The noise is a view of the block that the stream draws."""
    noise *= 0.7
    return [noise]
