"""The one vector in which a model's parameters live, and the one of their gradients."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from tinyvae.autograd import Tensor
from tinyvae.backend import Backend
from tinyvae.errors import GraphError, OptionError
from tinyvae.nn import MLP, Dense, FlatParameters
from tinyvae.noise import Noise
from tinyvae.optim import SGD


def rows(backend: Backend, shape: tuple[int, int]) -> Tensor:
    host = np.random.default_rng(0).standard_normal(shape).astype("float32")
    return Tensor(backend.from_host(host))


def test_parameters_are_views_of_one_vector(backend: Backend) -> None:
    mlp = MLP((4, 3, 2), Noise(0))
    before = np.concatenate([p.numpy().ravel() for p in mlp.parameters()])
    flat = FlatParameters(mlp.parameters())
    np.testing.assert_array_equal(backend.to_host(flat.values), before)
    flat.values[...] = backend.from_host(np.arange(len(before), dtype="float32"))
    assert np.concatenate([p.numpy().ravel() for p in mlp.parameters()]).tolist() == list(
        range(len(before))
    )
    mlp.layers[0].weight.data[...] = -1.0
    assert backend.to_host(flat.values)[:12].tolist() == [-1.0] * 12


def test_gradients_land_in_the_flat_vector(backend: Backend) -> None:
    mlp = MLP((4, 3, 2), Noise(0))
    lone = MLP((4, 3, 2), Noise(0))
    flat = FlatParameters(mlp.parameters())
    x = rows(backend, (5, 4))
    for module in (mlp, lone):
        (module(x) * module(x)).sum().backward()
    wanted = np.concatenate([backend.to_host(p.grad).ravel() for p in lone.parameters()])
    np.testing.assert_allclose(backend.to_host(flat.gradients), wanted, rtol=1e-5, atol=1e-6)
    assert flat.gather() is flat.gradients
    ends = np.cumsum([0, *(p.size for p in mlp.parameters())])
    for parameter, (start, end) in zip(mlp.parameters(), pairwise(ends), strict=True):
        assert backend.xp.shares_memory(parameter.grad, flat.gradients[int(start) : int(end)])


def test_a_weights_gradient_is_written_in_place_without_a_copy(backend: Backend) -> None:
    layer, x = Dense(1000, 500, Noise(0)), Tensor(np.ones((2, 1000), "float32"))
    FlatParameters(layer.parameters())
    loss = layer(x).sum()
    tracemalloc.start()
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < layer.weight.size * 4 / 10
    assert float(layer.weight.grad.min()) == 2.0


def test_a_parameter_that_the_loss_leaves_out_has_a_gradient_of_zeros(backend: Backend) -> None:
    used, unused = (Tensor([1.0, 2.0], requires_grad=True) for _ in "ab")
    flat = FlatParameters([used, unused])
    (used * unused).sum().backward()
    flat.zero_grad()
    used.sum().backward()
    assert backend.to_host(flat.gather()).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_parameter_in_two_places_counts_once(backend: Backend) -> None:
    shared = Tensor([1.0, 2.0], requires_grad=True)
    optimiser = SGD([shared, shared], learning_rate=1.0)
    (shared.sum() + shared.sum()).backward()
    optimiser.step()
    assert shared.numpy().tolist() == [-1.0, 0.0]


def test_parameters_of_two_dtypes_do_not_share_a_vector(backend: Backend) -> None:
    single, double = (Tensor([1.0], dtype=d, requires_grad=True) for d in ("float32", "float64"))
    with pytest.raises(OptionError, match=r"is float32 on .* is float64 on .*\.to"):
        FlatParameters([single, double])


def test_flat_vectors_of_nothing_are_refused(backend: Backend) -> None:
    with pytest.raises(OptionError, match="no parameters to train"):
        FlatParameters([])


@pytest.mark.parametrize("how", ["dtype", "optimiser"])
def test_parameters_that_have_moved_are_refused_by_name(backend: Backend, how: str) -> None:
    layer = Dense(3, 2, Noise(0))
    first = SGD(layer.parameters())
    layer.to(dtype="float64") if how == "dtype" else SGD(layer.parameters())
    with pytest.raises(OptionError, match=r"parameter weight \(3, 2\) has moved.*new optimiser"):
        first.step()


def test_a_step_between_forward_and_backward_is_noticed(backend: Backend) -> None:
    layer = Dense(3, 2, Noise(0))
    optimiser = SGD(layer.parameters())
    x = rows(backend, (5, 3))
    loss = layer(x).sum()
    optimiser.step()
    with pytest.raises(GraphError, match=r"weight \(3, 2\), was changed after affine"):
        loss.backward()
