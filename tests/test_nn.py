"""Modules and dense layers, and parameters that are views of one flat vector."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tinyvae.autograd import OPS, Tensor, trace_non_finite
from tinyvae.autograd.ops import relu
from tinyvae.backend import Backend, get
from tinyvae.errors import OptionError, RunError, ShapeError
from tinyvae.nn import (
    ACTIVATIONS,
    MLP,
    Dense,
    Module,
    Sequential,
    glorot_uniform,
    he_normal,
)
from tinyvae.noise import Noise

SIX_SIGMA = 6.0


class Pair(Module):
    """A module with parameters of every kind: its own, a layer's, those of a list of layers."""

    def __init__(self, noise: Noise) -> None:
        self.scale = Tensor([2.0], requires_grad=True)
        self.constant = Tensor([7.0])
        self.head = Dense(2, 3, noise)
        self.tail = [Dense(3, 1, noise), OPS["relu"], Dense(1, 1, noise)]
        self.width = 3


def rows(backend: Backend, shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, Tensor]:
    host = np.random.default_rng(seed).standard_normal(shape).astype("float32")
    return host, Tensor(backend.from_host(host))


def values(module: Module) -> dict[str, np.ndarray]:
    return {name: parameter.numpy() for name, parameter in module.named_parameters()}


def assert_same(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


# Layers


def test_a_dense_layer_is_x_w_plus_b(backend: Backend) -> None:
    layer = Dense(3, 2, Noise(0))
    layer.bias.data = backend.from_host(np.array([0.5, -4.0], "float32"))
    host, x = rows(backend, (5, 3))
    wanted = host.astype("float64") @ layer.weight.numpy() + layer.bias.numpy()
    got = layer(x)
    assert (got.shape, got.dtype, got.backend) == ((5, 2), "float32", backend)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_a_dense_layer_begins_with_a_bias_of_zeros(backend: Backend) -> None:
    assert not Dense(3, 2, Noise(0)).bias.numpy().any()


@pytest.mark.parametrize("shape", [(5, 2), (3,), (5, 1, 3), (0, 4)])
def test_rows_of_another_shape_are_refused_with_both_shapes(
    backend: Backend, shape: tuple[int, ...]
) -> None:
    x = Tensor(backend.from_host(np.zeros(shape, "float32")))
    with pytest.raises(ShapeError) as caught:
        Dense(3, 2, Noise(0))(x)
    assert "rows of 3 numbers, shape (B, 3)" in str(caught.value)
    assert str(shape) in str(caught.value)


def test_a_layer_that_joins_nothing_is_refused(backend: Backend) -> None:
    with pytest.raises(OptionError, match="at least 1 to 1, not 3 to 0"):
        Dense(3, 0, Noise(0))


def test_an_mlp_is_dense_layers_with_an_activation_between_them(backend: Backend) -> None:
    mlp = MLP((6, 5, 4, 2), Noise(0), "tanh")
    kinds = [layer if isinstance(layer, Dense) else None for layer in mlp.layers]
    assert [k is None for k in kinds] == [False, True, False, True, False]
    assert [k.weight.shape for k in kinds if k] == [(6, 5), (5, 4), (4, 2)]
    host, x = rows(backend, (3, 6))
    h = host.astype("float64")
    for k, layer in enumerate(k for k in kinds if k):
        h = h @ layer.weight.numpy() + layer.bias.numpy()
        h = np.tanh(h) if k < 2 else h
    np.testing.assert_allclose(mlp(x).numpy(), h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_makes_an_mlp(backend: Backend, name: str) -> None:
    _, x = rows(backend, (3, 4))
    mlp = MLP((4, 3, 2), Noise(0), name)
    assert mlp.layers[1] is OPS[name]
    assert mlp(x).shape == (3, 2)


def test_an_mlp_of_two_widths_is_one_layer(backend: Backend) -> None:
    assert [type(layer) for layer in MLP((4, 2), Noise(0)).layers] == [Dense]


def test_an_unknown_activation_is_refused_with_the_list(backend: Backend) -> None:
    with pytest.raises(OptionError, match=r"unknown activation 'swish'.*'relu', 'tanh'"):
        MLP((4, 3, 2), Noise(0), "swish")


def test_a_sequential_applies_its_layers_in_order(backend: Backend) -> None:
    double_then_relu = Sequential(lambda x: x * 2, OPS["relu"], lambda x: x - 1)
    x = Tensor([-1.0, 3.0])
    assert double_then_relu(x).numpy().tolist() == [-1.0, 5.0]


# First weights


@pytest.mark.parametrize(
    ("initialise", "variance", "kurtosis"),
    [
        (he_normal, lambda fan_in, _: 2 / fan_in, 3.0),
        (glorot_uniform, lambda fan_in, fan_out: 2 / (fan_in + fan_out), 1.8),
    ],
)
@pytest.mark.parametrize("fans", [(100, 400), (400, 100)])
def test_first_weights_have_the_published_moments(
    backend: Backend, initialise, variance, kurtosis, fans: tuple[int, int]
) -> None:
    draws = backend.to_host(initialise(*fans, Noise(3))).astype("float64")
    n, wanted = draws.size, variance(*fans)
    assert draws.shape == fans
    assert abs(draws.mean()) < SIX_SIGMA * math.sqrt(wanted / n)
    spread = SIX_SIGMA * wanted * math.sqrt((kurtosis - 1) / n)
    assert abs(draws.var() - wanted) < spread
    fourth = (draws**4).mean() / wanted**2
    assert abs(fourth - kurtosis) < SIX_SIGMA * 10 / math.sqrt(n)


def test_glorots_draws_stay_within_their_bound(backend: Backend) -> None:
    draws = np.abs(backend.to_host(glorot_uniform(30, 70, Noise(0))))
    bound = math.sqrt(6 / 100)
    assert 0.99 * bound < draws.max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("initialise", [glorot_uniform, he_normal])
def test_the_layers_of_an_mlp_begin_with_the_draws_asked_for(
    backend: Backend, initialise: Callable[..., object]
) -> None:
    noise = Noise(5)
    wanted = [backend.to_host(initialise(*fans, noise)) for fans in ((40, 30), (30, 20))]
    mlp = MLP((40, 30, 20), Noise(5), "relu", initialise)
    for layer, weight in zip(mlp.layers[::2], wanted, strict=True):
        np.testing.assert_array_equal(layer.weight.numpy(), weight)


# Names, states, moves


def test_parameters_are_named_in_order_of_definition(backend: Backend) -> None:
    names = ["scale", "head.weight", "head.bias"]
    names += ["tail.0.weight", "tail.0.bias", "tail.2.weight", "tail.2.bias"]
    pair = Pair(Noise(0))
    assert [name for name, _ in pair.named_parameters()] == names
    assert [parameter.name for parameter in pair.parameters()] == names


def test_a_state_goes_into_another_module_of_the_same_shape(backend: Backend) -> None:
    one, other = Pair(Noise(0)), Pair(Noise(1))
    state = one.state_dict()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    assert (state["head.weight"] != other.state_dict()["head.weight"]).any()
    other.load_state_dict(state)
    assert_same(values(other), state)


def test_a_state_is_a_copy(backend: Backend) -> None:
    pair = Pair(Noise(0))
    before = values(pair)
    for array in pair.state_dict().values():
        array[...] = -1
    assert_same(values(pair), before)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("tail.2.bias"), r"missing \['tail.2.bias'\], not expected \[\]"),
        (lambda s: s.update(extra=np.zeros(1)), r"missing \[\], not expected \['extra'\]"),
        (
            lambda s: s.update({"tail.2.bias": np.zeros(4, "float32")}),
            r"tail.2.bias is float32 of shape \(4,\), and should be float32 of shape \(1,\)",
        ),
        (
            lambda s: s.update({"tail.2.bias": np.zeros(1)}),
            r"tail.2.bias is float64 of shape \(1,\), and should be float32 of shape \(1,\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_changed(
    backend: Backend, spoil, message: str
) -> None:
    pair, state = Pair(Noise(0)), Pair(Noise(1)).state_dict()
    before = values(pair)
    spoil(state)
    with pytest.raises(RunError, match=message):
        pair.load_state_dict(state)
    assert_same(values(pair), before)


def test_a_module_moves_to_float64_with_its_values(backend: Backend) -> None:
    pair = Pair(Noise(0))
    before = values(pair)
    assert pair.to(dtype="float64") is pair
    assert pair.dtype == "float64"
    after = values(pair)
    assert {array.dtype.name for array in after.values()} == {"float64"}
    assert_same({k: v.astype("float32") for k, v in after.items()}, before)


def test_a_module_moves_to_another_backend_and_back(backend: Backend) -> None:
    pair = Pair(Noise(0))
    before = values(pair)
    assert pair.scale.data is not None  # looking must not tie a parameter to where it was
    for target in (get("numpy"), backend):
        pair.to(target)
        assert {parameter.backend for parameter in pair.parameters()} == {target}
        assert pair.backend is target
        assert_same(values(pair), before)
        x = Tensor.wrap(target.from_host(np.ones((4, 2), "float32")))
        (pair.head(x) * pair.scale).sum().backward()  # the scale is 2
        assert target.to_host(pair.head.bias.grad).tolist() == [8.0, 8.0, 8.0]


# A dense layer and the ReLU behind it


def as_two_ops(network: Sequential, x: Tensor) -> Tensor:
    for layer in network.layers:
        x = layer(x)
    return x


def bits(network: Sequential, run: Callable[[Sequential, Tensor], Tensor]) -> list[np.ndarray]:
    """The result of a run, and the gradients of its parameters and its input."""
    x = Tensor(
        np.random.default_rng(2).standard_normal((7, 4)), dtype="float32", requires_grad=True
    )
    y = run(network, x)
    (y * y).sum().backward()
    made = [y.numpy(), *(p.backend.to_host(p.grad) for p in (x, *network.parameters()))]
    for parameter in network.parameters():
        parameter.zero_grad()
    return made


@pytest.mark.parametrize("widths", [(4, 3), (4, 3, 2), (4, 9, 3, 2)])
def test_a_layer_and_its_relu_in_one_op_give_the_bits_of_two(
    widths: tuple[int, ...], backend: Backend
) -> None:
    network = MLP(widths, Noise(0))
    network.layers = (*network.layers, relu, relu)  # and one that has no layer of its own
    for one, other in zip(
        bits(network, Sequential.__call__), bits(network, as_two_ops), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def ops_of(tensor: Tensor) -> list[str]:
    """The ops from a result back along the first inputs."""
    found = []
    while tensor._node is not None:
        found.append(tensor._node.op)
        tensor = tensor._node.inputs[0]
    return found[::-1]


def test_only_a_relu_behind_a_dense_layer_is_joined_to_it() -> None:
    class Doubled(Dense):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x) * 2.0

    noise = Noise(0)
    x = Tensor(np.ones((1, 2)), dtype="float32", requires_grad=True)
    layers = (relu, Dense(2, 2, noise), relu, Doubled(2, 2, noise), relu, Dense(2, 2, noise))
    network = Sequential(*layers)
    separate = ["affine", "multiply", "relu", "affine"]
    assert ops_of(network(x)) == ["relu", "affine_relu", *separate]
    with trace_non_finite():  # a ReLU would hide where an infinity was made
        assert ops_of(network(x)) == ["relu", "affine", "relu", *separate]
    assert [*MLP((2, 3, 2), noise).state_dict()] == [
        f"layers.{k}.{name}" for k in (0, 2) for name in ("weight", "bias")
    ]
