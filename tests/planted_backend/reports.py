"""Reports, files and pictures of what is on the device: made of it before it is fetched."""

from __future__ import annotations

import io
import pickle
from functools import partial

import numpy as np

from planted_backend.planting import Planted, at_leisure, planted_in
from tinyvae.backend import Array, Backend

ERRORS: list[Planted] = []
planted = partial(planted_in, ERRORS)
KL = np.random.default_rng(0).uniform(0, 0.02, (6, 4)).astype("float32")
NAMES = ("width", "height", "angle", "colour")


def copied(backend: Backend, kl: Array) -> Array:
    return backend.to_host(kl)


FETCHED = at_leisure(copied, KL)


@planted(FETCHED, "NumPy call", "use the function of xp")
def file_of_numpys_written_from_the_device(backend: Backend, kl: Array) -> Array:
    file = io.BytesIO()
    np.save(file, kl)
    file.seek(0)
    return np.load(file)


@planted(FETCHED, "implicit", "implicit conversion of a DeviceArray")
def rows_gathered_in_an_array_of_the_host(backend: Backend, kl: Array) -> Array:
    rows = np.empty(kl.shape, "float32")
    for k, row in enumerate(kl):
        rows[k] = row
    return rows


@planted(FETCHED, "NumPy call", "use the function of xp")
def batches_joined_by_numpy(backend: Backend, kl: Array) -> Array:
    return np.concatenate([kl[:3], kl[3:]])


@planted(FETCHED, "NumPy operand", "does not support ufuncs")
def sum_on_the_host_of_what_is_on_the_device(backend: Backend, kl: Array) -> Array:
    rows = np.zeros(kl.shape, "float32")
    rows += kl
    return rows


@planted(FETCHED, "CuPy has not", "a pickle of a DeviceArray needs a GPU to be read")
def checkpoint_by_pickle(backend: Backend, kl: Array) -> Array:
    """CuPy writes it, and it cannot be read where there is no GPU."""
    return pickle.loads(pickle.dumps({"kl": kl}))["kl"]


@planted(FETCHED, "implicit", "implicit conversion of a DeviceArray")
def moved_to_the_device_a_second_time(backend: Backend, kl: Array) -> Array:
    return backend.to_host(backend.from_host(kl))


@planted(FETCHED, "CuPy has not", "a ndarray is not an array of the device")
def fetched_a_second_time(backend: Backend, kl: Array) -> Array:
    return backend.to_host(backend.to_host(kl))


def used(backend: Backend, kl: Array) -> float:
    return sum(range(int((kl.mean(axis=0) > 0.01).sum())))


USED = at_leisure(used, KL)


@planted(USED, "0-d", "cannot be interpreted as an integer")
def range_over_a_count(backend: Backend, kl: Array) -> float:
    return sum(range((kl.mean(axis=0) > 0.01).sum()))


def name_of_largest(backend: Backend, kl: Array) -> float:
    return len(NAMES[int(kl.mean(axis=0).argmax())])


@planted(at_leisure(name_of_largest, KL), "0-d", "indices must be integers")
def name_by_the_place_of_the_largest(backend: Backend, kl: Array) -> float:
    return len(NAMES[kl.mean(axis=0).argmax()])


def mean_in_nats(backend: Backend, kl: Array) -> float:
    return float(kl.mean())


MEAN = at_leisure(mean_in_nats, KL)


@planted(MEAN, "0-d", "of unsized object")
def mean_that_is_a_number_or_a_list(backend: Backend, kl: Array) -> float:
    mean = kl.mean()
    return mean if isinstance(mean, np.floating) else sum(mean) / len(mean)


@planted(MEAN, "0-d", "unhashable")
def mean_as_a_key(backend: Backend, kl: Array) -> float:
    return float(next(iter({kl.mean(): "epoch 1"})))


@planted(MEAN, "NumPy call", "use the function of xp")
def mean_by_numpy(backend: Backend, kl: Array) -> float:
    return float(np.mean(kl))


@planted(MEAN, "implicit", "implicit conversion")
def mean_by_a_list_of_numpys(backend: Backend, kl: Array) -> float:
    return float(np.mean([row.mean() for row in kl]))
