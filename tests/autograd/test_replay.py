"""A replay gives the bits of the tape, for every op, and notices when it would not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.autograd import OPS, trace_non_finite
from tinyvae.autograd.replay import agree
from tinyvae.backend import Backend, base, get
from tinyvae.errors import GraphError, OptionError
from tinyvae.evaluation.cases import CASES

EVERY_CASE = {f"{name}-{k}": case for name in CASES for k, case in enumerate(CASES[name])}
BY_A_MASK = "getitem-6"


def drawn(draws: Any, seed: int, dtype: str) -> list[np.ndarray]:
    noise = tv.Noise(seed, "replay", backend="numpy")
    return [np.asarray(draw(noise)).astype(dtype) for draw in draws]


def taped(function: Callable[..., tv.Tensor], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The loss and the gradients of a fresh tape."""
    tensors = [tv.Tensor(array, requires_grad=True) for array in arrays]
    value = (loss := scalar(function(*tensors))).numpy()
    loss.backward()
    return [value, *map(gradient, tensors)]


def gradient(tensor: tv.Tensor) -> np.ndarray:
    return np.zeros(1) if tensor.grad is None else tensor.backend.to_host(tensor.grad)


def scalar(value: tv.Tensor) -> tv.Tensor:
    """A loss that weights every element in its own way."""
    weights = np.linspace(0.5, 1.5, value.size).reshape(value.shape).astype(value.dtype)
    return (value * tv.Tensor(weights)).sum()


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", EVERY_CASE)
def test_every_op_is_replayed_to_the_same_bits(backend: Backend, case: str, dtype: str) -> None:
    function, *draws = EVERY_CASE[case]
    calls = []
    parameters = [tv.Tensor(x, requires_grad=True) for x in drawn(draws, 0, dtype)]

    def loss() -> tv.Tensor:
        calls.append(1)
        return scalar(function(*parameters))

    replay = tv.Replay(loss, parameters)
    for seed in range(1, 8):
        values = drawn(draws, seed, dtype)
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = backend.from_host(value)
            parameter.zero_grad()
        got = [replay().numpy(), *map(gradient, parameters)]
        for mine, wanted in zip(got, taped(function, values), strict=True):
            np.testing.assert_array_equal(mine, wanted)
    assert len(calls) == rehearsals(backend) + (8 if case == BY_A_MASK else 4)  # of seven


def rehearsals(backend: Backend) -> int:
    """How often a step goes through the tape before it is written down."""
    return 0 if backend.host else 1


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


def array(*values: float) -> Any:
    return on_device(np.array(values, dtype="float32"))


def on_device(host: np.ndarray) -> Any:
    return get().from_host(host)


def on_host(device: Any) -> list[Any]:
    return get().to_host(device).tolist()


def times(w: tv.Tensor) -> Callable[..., tv.Tensor]:
    return lambda x, scale=1.0: (w * tv.Tensor.wrap(x)).sum() * scale


def test_arguments_that_are_equal_but_not_the_same_are_told_apart(backend: Backend) -> None:
    w = weight(3.0)
    replay = tv.Replay(
        lambda x, flag: (w * tv.Tensor.wrap(x)).sum() * (2 if flag is True else 1), [w]
    )
    inputs = [(array(1), flag) for _ in range(5) for flag in (1, True, 1.0)]
    assert steps(replay, [w], *inputs) == [3.0, 6.0, 3.0] * 5
    signed = tv.Replay(lambda x: (w * 1.0).sum() * math.copysign(1, x), [w])
    assert steps(signed, [w], *[(x,) for _ in range(5) for x in (0.0, -0.0)]) == [3.0, -3.0] * 5
    of_nan = tv.Replay(lambda x, nan: (w * tv.Tensor.wrap(x)).sum(), [w])
    steps(of_nan, [w], *[(array(1), float("nan")) for _ in range(5)])
    assert len(of_nan._plans) == 1


@pytest.mark.parametrize("wrong", [[1.0], tv.Tensor([1.0]), {}])
def test_other_arguments_are_refused(backend: Backend, wrong: Any) -> None:
    w = weight(1.0)
    with pytest.raises(OptionError, match="takes arrays, numbers and words, not a "):
        tv.Replay(times(w), [w])(wrong)


def test_the_arguments_stay_as_they_are(backend: Backend) -> None:
    w, given = weight(2.0), [array(k) for k in range(6)]
    steps(tv.Replay(times(w), [w]), [w], *[(x,) for x in given])
    assert [float(x[0]) for x in given] == [0, 1, 2, 3, 4, 5]


def test_each_dtype_and_order_in_memory_has_a_plan() -> None:
    w = tv.Tensor(np.ones((2, 3)), requires_grad=True)
    replay = tv.Replay(lambda x: (w * tv.Tensor.wrap(x)).sum(), [w])
    x = np.arange(6.0).reshape(2, 3)
    steps(replay, [w], *[(each,) for _ in range(5) for each in (x, np.asfortranarray(x))])
    assert len(replay._plans) == 2
    with pytest.raises(tv.errors.DtypeError):
        steps(replay, [w], (x.astype("float32"),))


def test_without_gradients_there_is_only_the_loss(backend: Backend) -> None:
    w = weight(2.0)
    replay = tv.Replay(lambda x: (w * tv.Tensor.wrap(x)).sum(), [w])
    steps(replay, [w], *[(array(3),)] * 5)
    w.zero_grad()
    with tv.no_grad(), pytest.raises(GraphError):
        replay(array(3))
    assert w.grad is None


def test_a_parameter_that_is_frozen_gets_no_gradient(backend: Backend) -> None:
    a, b = weight(1.0), weight(1.0)
    replay = tv.Replay(lambda: (a * b).sum(), [a, b])
    steps(replay, [a, b], *[()] * 5)
    b.requires_grad = False
    assert steps(replay, [a, b], *[()] * 3) == [1.0] * 3
    assert b.grad is None


def test_a_gradient_that_moved_is_followed(backend: Backend) -> None:
    w = weight(1.0)
    replay = tv.Replay(times(w), [w])
    steps(replay, [w], *[(array(3),)] * 5)
    elsewhere = array(0)
    w.place(w.array, elsewhere)
    steps(replay, [w], (array(4),))
    assert on_host(elsewhere) == [4]


def test_the_plans_used_last_are_kept(backend: Backend) -> None:
    w, taped = weight(1.0), []

    def loss(x: Any) -> tv.Tensor:
        taped.append(len(x))
        return (w * tv.Tensor.wrap(x)).sum()

    replay = tv.Replay(loss, [w])
    hot, cold = array(*[1.0] * 9), [array(*[1.0] * n) for n in range(1, 8)]
    steps(replay, [w], *[(x,) for each in cold * 4 for x in (hot, each)])
    assert taped.count(9) == rehearsals(backend) + 6  # the calls 1, 2, 3, 4, 8 and 16 of 28


def test_after_the_error_that_something_changed_it_tapes(backend: Backend) -> None:
    w, scale = weight(1.0), [1.0]
    replay = tv.Replay(lambda x: (w * tv.Tensor.wrap(x)).sum() * scale[0], [w])
    steps(replay, [w], *[(array(3),)] * 7)
    scale[0] = 2.0
    with pytest.raises(GraphError):
        steps(replay, [w], (array(3),))
    assert steps(replay, [w], *[(array(3),)] * 2) == [6.0, 6.0]


def test_a_small_change_is_noticed_and_round_off_is_not(backend: Backend) -> None:
    for change, noticed in ((1 + 1e-3, True), (1 + 1e-6, False)):
        w, scale = weight(1.0), [1.0]
        replay = tv.Replay(lambda x, s=scale, w=w: (w * tv.Tensor.wrap(x)).sum() * s[0], [w])
        steps(replay, [w], *[(array(3),)] * 7)
        scale[0] = change
        if noticed:
            with pytest.raises(GraphError):
                replay_once(replay, w)
        else:
            replay_once(replay, w)


def replay_once(replay: tv.Replay, w: tv.Tensor) -> None:
    w.zero_grad()
    replay(array(3))


def test_an_infinity_hides_no_difference() -> None:
    inf = float("inf")
    assert agree(np.array([inf, 1, np.nan]), np.array([inf, 1, np.nan]))
    for other in ([inf, 99], [5, 1], [-inf, 1], [np.nan, 1]):
        assert not agree(np.array([inf, 1.0]), np.array(other))


def test_a_mask_that_picks_another_number_is_taped_each_time() -> None:
    w = weight(1.0, 2.0, 3.0)

    def loss(x: Any) -> tv.Tensor:
        y = w * tv.Tensor.wrap(x)
        return (y[np.asarray(x) > 0] ** 2).sum()

    replay = tv.Replay(loss, [w])
    given = [array(1, -1, 1), array(-1, 1, 1), array(-1, -1, 1), array(1, 1, 1), array(-1, 1, -1)]
    assert steps(replay, [w], *[(x,) for x in given]) == [10.0, 13.0, 9.0, 14.0, 4.0]


def test_a_number_beside_a_comparison_stays_what_it_is() -> None:
    w = tv.Tensor([1.0], dtype="float64", requires_grad=True)
    negative = [(np.array([-1.0]),)] * 5
    op = tv.op(lambda x: ((x > 0) * 0.75 + (x * 0.0 + 0.25), lambda g: g * 0))
    replay = tv.Replay(lambda x: op(w * tv.Tensor.wrap(x)).sum(), [w])
    assert steps(replay, [w], *negative, (np.array([2.0]),)) == [0.25] * 5 + [1.0]


def test_what_a_loss_keeps_for_itself_is_no_old_number_but_an_error() -> None:
    w, kept = weight(1.0), []

    def loss(x: Any) -> tv.Tensor:
        kept.append(w * tv.Tensor.wrap(x))
        return kept[-1].sum()

    steps(tv.Replay(loss, [w]), [w], (array(3),))
    with pytest.raises(tv.errors.NotRecordableError, match="let the loss return"):
        kept[0].item()


def test_a_detached_tensor_is_replayed_and_one_that_is_looked_at_is_not(backend: Backend) -> None:
    w = weight(2.0)
    stopped = tv.Replay(lambda x: (w * (w * tv.Tensor.wrap(x)).detach()).sum(), [w])
    assert steps(stopped, [w], *[(array(k),) for k in range(6)]) == [4.0 * k for k in range(6)]
    assert on_host(w.grad) == [10.0]
    looked = tv.Replay(lambda x: w.sum() * float((w * tv.Tensor.wrap(x)).numpy()[0]), [w])
    assert steps(looked, [w], *[(array(k),) for k in (1, 1, 1, 1, 1, 5)]) == [4.0] * 5 + [20.0]


def test_arrays_and_options_are_arguments(backend: Backend) -> None:
    w = weight(2.0)
    inputs = [(array(k), scale) for scale in (1.0, 10.0) for k in range(6)]
    assert steps(tv.Replay(times(w), [w]), [w], *inputs) == [
        2.0 * k * scale for scale in (1.0, 10.0) for k in range(6)
    ]


def test_each_shape_has_a_plan_and_only_the_last_few_are_kept(backend: Backend) -> None:
    w = weight(1.0)
    replay = tv.Replay(times(w), [w])
    inputs = [(array(*[1.0] * n),) for n in range(1, 9) for _ in range(3)]
    assert steps(replay, [w], *inputs) == [len(x) for (x,) in inputs]
    assert len(replay._plans) == 4


def test_a_loss_that_draws_for_itself_is_taped_each_time(backend: Backend) -> None:
    w, noise = weight(1.0), tv.Noise(0)
    again = tv.Noise(0)
    replay = tv.Replay(lambda: (w * tv.Tensor.wrap(noise.normal((3,)))).sum(), [w])
    replay()
    wanted = [float(again.normal((3,)).sum()) for _ in range(6)][1:]
    assert steps(replay, [w], *[()] * 5) == pytest.approx(wanted)


def test_a_loss_that_branches_on_a_value_is_taped_each_time(backend: Backend) -> None:
    w = weight(1.0)

    def loss(x: Any) -> tv.Tensor:
        y = (w * tv.Tensor.wrap(x)).sum()
        return y * 10 if y > 0 else -y

    found = steps(tv.Replay(loss, [w]), [w], *((array(k),) for k in (1, -1, 2, -2, 3)))
    assert found == [10.0, 1.0, 20.0, 2.0, 30.0]


def test_what_changes_and_is_no_argument_is_noticed(backend: Backend) -> None:
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


def test_gradients_that_are_there_are_added_to(backend: Backend) -> None:
    w = weight(1.0)
    replay = tv.Replay(times(w), [w])
    steps(replay, [w], *[(array(3),)] * 5)
    replay(array(4))
    assert on_host(w.grad) == [7.0]


def test_parameters_that_moved_are_followed(backend: Backend) -> None:
    w = weight(1.0)
    replay = tv.Replay(times(w), [w])
    steps(replay, [w], *[(array(3),)] * 3)
    optimiser = tv.SGD([w], learning_rate=0.5)  # their home is another vector now
    steps(replay, [w], (array(3),))
    optimiser.step()
    assert steps(replay, [w], *[(array(3),)] * 3) == [-1.5, -1.5, -1.5]
    assert on_host(w.grad) == [3.0]


def test_parameters_that_the_loss_leaves_out_have_no_gradient(backend: Backend) -> None:
    w, other = weight(1.0), weight(1.0)
    replay = tv.Replay(times(w), [w, other])
    steps(replay, [w, other], *[(array(3),)] * 5)
    assert other.grad is None


def test_a_fault_is_sought_on_the_tape(backend: Backend) -> None:
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


def test_without_parameters_there_is_nothing_to_replay() -> None:
    for none in ([], [np.ones(3)]):
        with pytest.raises(OptionError, match=r"those of Tensors, and of one at least"):
            tv.Replay(lambda: None, none)


def test_a_loss_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(OptionError, match=r"the loss returned 1.0; it returns a Tensor"):
        tv.Replay(lambda: 1.0, [weight(1.0)])()


def test_it_tells_how_often_it_was_replayed(backend: Backend) -> None:
    w = weight(1.0)
    replay = tv.Replay(times(w), [w])
    steps(replay, [w], *[(array(3),)] * 10)
    assert repr(replay) == f"Replay({rehearsals(backend) + 5} taped, 5 replayed)"


def test_every_op_that_there_is_was_replayed_above() -> None:
    assert set(CASES) == set(OPS)


def test_an_array_that_the_loss_takes_from_elsewhere_may_be_dropped(backend: Backend) -> None:
    w, places = weight(2.0), [tv.Tensor([3.0])]
    replay = tv.Replay(lambda x: (w * places[0] * tv.Tensor.wrap(x)).sum(), [w])
    given = [(array(k),) for k in range(1, 8)]
    assert steps(replay, [w], *given[:4]) == [6, 12, 18, 24]
    places[0] = tv.Tensor([3.0])  # the same number elsewhere: the first array is gone
    assert steps(replay, [w], *given[4:]) == [30, 36, 42]
    assert repr(replay) == f"Replay({4 if backend.host else 5} taped, 3 replayed)"


def test_a_number_that_is_made_an_array_in_the_loss_stays_what_it_was(backend: Backend) -> None:
    w = weight(2.0)
    replay = tv.Replay(lambda x: (w * tv.Tensor([3.0]) * tv.Tensor.wrap(x)).sum(), [w])
    given = [(array(k),) for k in range(1, 8)]
    assert steps(replay, [w], *given) == [6, 12, 18, 24, 30, 36, 42]
    assert "3 replayed" in repr(replay)


def test_the_gradients_of_layers_that_share_their_weights_add_up(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((3, 3), (3,))]
    shared = [tv.Tensor(each, requires_grad=True) for each in arrays]

    def thrice(x: Any, *parameters: tv.Tensor) -> tv.Tensor:
        y = tv.Tensor.wrap(x)
        for _ in range(3):
            y = OPS["affine"](y, *parameters)
        return y

    replay = tv.Replay(lambda x: scalar(thrice(x, *shared)), shared)
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((2, 3))
        steps(replay, shared, (backend.from_host(x),))
        wanted = taped(lambda *p, x=x: thrice(backend.from_host(x), *p), arrays)
        for got, each in zip(map(gradient, shared), wanted[1:], strict=True):
            np.testing.assert_array_equal(got, each)


def test_other_kernels_and_another_precision_have_plans_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doubled = {"exp": lambda x: (2 * np.exp(x), lambda g: 2 * g * np.exp(x))}
    monkeypatch.setitem(base._kernel_loaders, "doubled", lambda: doubled)
    w = weight(0.0)
    replay = tv.Replay(lambda: tv.exp(w).sum(), [w])
    for _ in range(6):
        for kernels, wanted in (("numpy", 1.0), ("doubled", 2.0)):
            with tv.use("numpy", kernels=kernels):
                assert steps(replay, [w], ()) == [wanted]
    assert len(replay._plans) == 2
    token = base._precision.set("tf32")
    steps(replay, [w], ())
    base._precision.reset(token)
    assert len(replay._plans) == 3
