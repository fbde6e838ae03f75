"""A replay gives the bits of the tape, for every op, and notices when it would not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.autograd import OPS, trace_non_finite
from tinyvae.backend import Backend
from tinyvae.errors import GraphError, OptionError
from tinyvae.evaluation.gradients import CASES

EVERY_CASE = [
    pytest.param(*case, id=f"{name}-{k}") for name in CASES for k, case in enumerate(CASES[name])
]


def drawn(draws: Any, seed: int, dtype: str) -> list[np.ndarray]:
    noise = tv.Noise(seed, "replay", backend="numpy")
    return [np.asarray(draw(noise)).astype(dtype) for draw in draws]


def taped(function: Callable[..., tv.Tensor], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The loss and the gradients of a fresh tape."""
    tensors = [tv.Tensor(array, requires_grad=True) for array in arrays]
    value = (loss := scalar(function(*tensors))).numpy()
    loss.backward()
    return [value, *(np.zeros(1) if t.grad is None else t.grad for t in tensors)]


def scalar(value: tv.Tensor) -> tv.Tensor:
    """A loss that weights every element in its own way."""
    weights = np.linspace(0.5, 1.5, value.size).reshape(value.shape).astype(value.dtype)
    return (value * tv.Tensor(weights)).sum()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("function", "draws"), [p.values[:1] + (p.values[1:],) for p in EVERY_CASE]
)
def test_every_op_is_replayed_to_the_same_bits(function: Any, draws: Any, dtype: str) -> None:
    calls = []
    parameters = [tv.Tensor(x, requires_grad=True) for x in drawn(draws, 0, dtype)]

    def loss() -> tv.Tensor:
        calls.append(1)
        return scalar(function(*parameters))

    replay = tv.Replay(loss, parameters)
    for seed in range(1, 8):
        values = drawn(draws, seed, dtype)
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value
            parameter.zero_grad()
        got = [replay().numpy(), *(np.zeros(1) if p.grad is None else p.grad for p in parameters)]
        for mine, wanted in zip(got, taped(function, values), strict=True):
            np.testing.assert_array_equal(mine, wanted)
    assert len(calls) == 3  # the first, the second and the fourth


def steps(replay: tv.Replay, parameters: list[tv.Tensor], *inputs: Any) -> list[float]:
    """The losses of so many calls, each on gradients that are forgotten."""
    found = []
    for given in inputs:
        for parameter in parameters:
            parameter.zero_grad()
        found.append(replay(*given).item())
    return found


def weight(*values: float) -> tv.Tensor:
    return tv.Tensor(list(values), requires_grad=True)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype="float32")


def times(w: tv.Tensor) -> Callable[..., tv.Tensor]:
    return lambda x, scale=1.0: (w * tv.Tensor.wrap(x)).sum() * scale


def test_arrays_and_options_are_arguments() -> None:
    w = weight(2.0)
    inputs = [(array(k), scale) for scale in (1.0, 10.0) for k in range(6)]
    assert steps(tv.Replay(times(w), [w]), [w], *inputs) == [
        2.0 * k * scale for scale in (1.0, 10.0) for k in range(6)
    ]


def test_each_shape_has_a_plan_and_only_the_last_few_are_kept() -> None:
    w = weight(1.0)
    replay = tv.Replay(times(w), [w])
    inputs = [(np.ones(n, dtype="float32"),) for n in range(1, 9) for _ in range(3)]
    assert steps(replay, [w], *inputs) == [len(x) for (x,) in inputs]
    assert len(replay._plans) == 4


def test_a_loss_that_draws_for_itself_is_taped_each_time() -> None:
    w, noise = weight(1.0), tv.Noise(0)
    again = tv.Noise(0)
    replay = tv.Replay(lambda: (w * tv.Tensor.wrap(noise.normal((3,)))).sum(), [w])
    replay()
    wanted = [float(again.normal((3,)).sum()) for _ in range(6)][1:]
    assert steps(replay, [w], *[()] * 5) == pytest.approx(wanted)


def test_a_loss_that_branches_on_a_value_is_taped_each_time() -> None:
    w = weight(1.0)

    def loss(x: Any) -> tv.Tensor:
        y = (w * tv.Tensor.wrap(x)).sum()
        return y * 10 if y > 0 else -y

    found = steps(tv.Replay(loss, [w]), [w], *((array(k),) for k in (1, -1, 2, -2, 3)))
    assert found == [10.0, 1.0, 20.0, 2.0, 30.0]


def test_what_changes_and_is_no_argument_is_noticed() -> None:
    w, scale = weight(1.0), [1.0]
    replay = tv.Replay(lambda x: (w * tv.Tensor.wrap(x)).sum() * scale[0], [w])
    steps(replay, [w], *[(array(3),)] * 5)
    scale[0] = 2.0
    with pytest.raises(GraphError, match=r"no longer what was recorded: something .* has changed"):
        steps(replay, [w], *[(array(3),)] * 4)


def test_pixels_out_of_range_are_refused_in_a_replay_too() -> None:
    model, noise = tv.VAE((1, 4), latent=1, hidden=(3,)), array(0.5)[None]
    parameters = model.parameters()
    replay = tv.Replay(lambda x: tv.negative_elbo(model, tv.Tensor.wrap(x), noise).loss, parameters)
    x = np.full((1, 4), 0.5, dtype="float32")
    steps(replay, parameters, *[(x,)] * 5)
    with pytest.raises(tv.errors.DataError, match=r"lie in \[0, 1\]; these go from 2 to 2"):
        steps(replay, parameters, (x * 4,))


def test_gradients_that_are_there_are_added_to() -> None:
    w = weight(1.0)
    replay = tv.Replay(times(w), [w])
    steps(replay, [w], *[(array(3),)] * 5)
    replay(array(4))
    assert w.grad == [7.0]


def test_parameters_that_moved_are_followed() -> None:
    w = weight(1.0)
    replay = tv.Replay(times(w), [w])
    steps(replay, [w], *[(array(3),)] * 3)
    optimiser = tv.SGD([w], learning_rate=0.5)  # their home is another vector now
    steps(replay, [w], (array(3),))
    optimiser.step()
    assert steps(replay, [w], *[(array(3),)] * 3) == [-1.5, -1.5, -1.5]
    assert w.grad == [3.0]


def test_parameters_that_the_loss_leaves_out_have_no_gradient() -> None:
    w, other = weight(1.0), weight(1.0)
    replay = tv.Replay(times(w), [w, other])
    steps(replay, [w, other], *[(array(3),)] * 5)
    assert other.grad is None


def test_a_fault_is_sought_on_the_tape() -> None:
    w = weight(1.0)
    replay = tv.Replay(lambda x: tv.log(w * tv.Tensor.wrap(x)).sum(), [w])
    steps(replay, [w], *[(array(3),)] * 5)
    w.zero_grad()
    with (
        trace_non_finite(),
        np.errstate(divide="ignore"),
        pytest.raises(tv.errors.NonFiniteError, match="log made -inf first"),
    ):
        replay(array(0))


def test_on_every_backend_it_is_the_loss(backend: Backend) -> None:
    w = weight(2.0)
    x = backend.from_host(array(3))
    assert steps(tv.Replay(times(w), [w]), [w], *[(x,)] * 5) == [6.0] * 5
    assert backend.to_host(w.grad) == [3.0]


def test_without_parameters_there_is_nothing_to_replay() -> None:
    with pytest.raises(OptionError, match="without parameters"):
        tv.Replay(lambda: None, [])


def test_every_op_that_there_is_was_replayed_above() -> None:
    assert set(CASES) == set(OPS)
