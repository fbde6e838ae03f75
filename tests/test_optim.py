"""Optimisers against the algorithms as published, and clipping by its meaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyvae.autograd import Tensor
from tinyvae.backend import Backend
from tinyvae.errors import OptionError, RunError
from tinyvae.nn import MLP
from tinyvae.noise import Noise
from tinyvae.optim import (
    SGD,
    Adam,
    AdamW,
    Optimiser,
    RMSprop,
    clip_global_norm,
)

START = (1.0, -2.0, 0.5, 3.0)
MAKERS: dict[str, Callable[..., Optimiser]] = {
    "SGD": lambda p, **s: SGD(p, 0.05, momentum=0.9, **s),
    "Adam": lambda p, **s: Adam(p, 0.05, **s),
    "AdamW": lambda p, **s: AdamW(p, 0.05, decay=0.1, **s),
    "RMSprop": lambda p, **s: RMSprop(p, 0.05, **s),
}
rates, fractions = st.floats(1e-5, 1.0), st.floats(0.0, 0.9999)


def slope(start: float, step: int) -> float:
    """A gradient that changes its sign and its size, and is 0 now and then."""
    return 0.0 if step % 7 == 0 else 10.0 ** (step % 5 - 2) * math.sin(step + 3 * start)


def path(make: Callable[[list[Tensor]], Optimiser], steps: int = 50) -> np.ndarray:
    """Where the optimiser goes from START, step by step."""
    x = Tensor(list(START), dtype="float64", requires_grad=True)
    optimiser, found = make([x]), []
    for step in range(1, steps + 1):
        slopes = np.array([slope(start, step) for start in START])
        x.grad = x.backend.from_host(slopes)
        optimiser.step()
        found.append(x.numpy())
    return np.array(found)


def published(rule: Callable[[float], Iterator[float]], steps: int = 50) -> np.ndarray:
    """The same by an algorithm for one number, in plain Python."""
    return np.array([[x for _, x in zip(range(steps), rule(x), strict=False)] for x in START]).T


def assert_close(got: np.ndarray, wanted: np.ndarray) -> None:
    scale = np.maximum(1.0, np.maximum.accumulate(np.abs(wanted)))
    assert np.max(np.abs(got - wanted) / scale) < 1e-12


# The algorithm boxes


def adam_box(x, rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0):
    """Kingma and Ba (2015), algorithm 1; with decay, Loshchilov and Hutter (2019), algorithm 2."""
    start, m, v, t = x, 0.0, 0.0, 0
    while True:
        t = t + 1
        g = slope(start, t)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        x = x - rate * (m_hat / (math.sqrt(v_hat) + epsilon)) - rate * decay * x
        yield x


def momentum_box(x, rate, momentum):
    """Polyak's heavy ball, as Sutskever et al. (2013) write it, with the rate outside."""
    start, velocity, t = x, 0.0, 0
    while True:
        t += 1
        velocity = momentum * velocity + slope(start, t)
        x = x - rate * velocity
        yield x


def rmsprop_box(x, rate, rho, epsilon):
    """Tieleman and Hinton (2012), lecture 6.5: divide by a running root mean square."""
    start, mean_square, t = x, 0.0, 0
    while True:
        t += 1
        g = slope(start, t)
        mean_square = rho * mean_square + (1 - rho) * g**2
        x = x - rate * g / (math.sqrt(mean_square) + epsilon)
        yield x


@given(rate=rates, beta1=fractions, beta2=fractions, epsilon=st.floats(1e-8, 1e-2))
@example(rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8)
@example(rate=0.1, beta1=0.0, beta2=0.0, epsilon=1e-3)
@settings(max_examples=15)
def test_adam_is_the_papers_algorithm(
    backend: Backend, rate: float, beta1: float, beta2: float, epsilon: float
) -> None:
    options = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    got = path(lambda p: Adam(p, rate, **options))
    assert_close(got, published(lambda x: adam_box(x, rate, **options)))


@given(rate=rates, decay=st.floats(0.0, 0.5))
@settings(max_examples=15)
def test_adamws_decay_is_decoupled_from_the_gradient(
    backend: Backend, rate: float, decay: float
) -> None:
    got = path(lambda p: AdamW(p, rate, decay=decay))
    assert_close(got, published(lambda x: adam_box(x, rate, decay=decay)))


@given(rate=st.floats(1e-5, 0.1), momentum=fractions)
@settings(max_examples=15)
def test_sgd_with_momentum_is_the_heavy_ball(
    backend: Backend, rate: float, momentum: float
) -> None:
    got = path(lambda p: SGD(p, rate, momentum=momentum))
    assert_close(got, published(lambda x: momentum_box(x, rate, momentum)))


@given(rate=rates, rho=fractions, epsilon=st.floats(1e-8, 1e-2))
@settings(max_examples=15)
def test_rmsprop_is_the_lectures_rule(
    backend: Backend, rate: float, rho: float, epsilon: float
) -> None:
    got = path(lambda p: RMSprop(p, rate, rho=rho, epsilon=epsilon))
    assert_close(got, published(lambda x: rmsprop_box(x, rate, rho, epsilon)))


# Closed forms


def test_sgd_on_a_parabola_shrinks_by_one_factor_a_step(backend: Backend) -> None:
    x = Tensor([4.0, -1.0], dtype="float64", requires_grad=True)
    optimiser = SGD([x], learning_rate=0.1)
    for _ in range(30):
        optimiser.zero_grad()
        (x * x).sum().backward()
        optimiser.step()
    np.testing.assert_allclose(x.numpy(), np.array([4.0, -1.0]) * 0.8**30, rtol=1e-12)


def test_the_heavy_ball_under_a_constant_gradient_reaches_its_terminal_speed(
    backend: Backend,
) -> None:
    x = Tensor([0.0], dtype="float64", requires_grad=True)
    optimiser, momentum, n = SGD([x], learning_rate=0.1, momentum=0.5), 0.5, 20
    for _ in range(n):
        x.grad = backend.from_host(np.ones(1))
        optimiser.step()
    speed = 1 / (1 - momentum)
    wanted = -0.1 * speed * (n - momentum * speed * (1 - momentum**n))
    assert x.item() == pytest.approx(wanted, rel=1e-12)


@given(gradient=st.floats(1e-3, 1e6), rate=rates)
def test_adams_first_step_has_the_length_of_the_rate(
    backend: Backend, gradient: float, rate: float
) -> None:
    x = Tensor([0.0, 0.0], dtype="float64", requires_grad=True)
    optimiser = Adam([x], rate, epsilon=0.0)
    x.grad = backend.from_host(np.array([gradient, -gradient]))
    optimiser.step()
    np.testing.assert_allclose(x.numpy(), [-rate, rate], rtol=1e-12)


# Settings, states


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.nan, math.inf])
def test_a_learning_rate_that_is_no_number_above_0_is_refused(
    backend: Backend, rate: float
) -> None:
    with pytest.raises(OptionError, match=f"a learning rate is a number above 0, not {rate}"):
        SGD([Tensor([1.0], requires_grad=True)], rate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD(p, momentum=1.0), "momentum is from 0 to below 1, not 1.0"),
        (lambda p: Adam(p, beta1=-0.1), "beta1 is from 0 to below 1, not -0.1"),
        (lambda p: AdamW(p, beta2=math.nan), "beta2 is from 0 to below 1, not nan"),
        (lambda p: RMSprop(p, rho=1.5), "rho is from 0 to below 1, not 1.5"),
        (lambda p: clip_global_norm(SGD(p), 0.0), "limit of a norm is above 0, not 0.0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(backend: Backend, make, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make([Tensor([1.0], requires_grad=True)])


def test_a_schedule_is_asked_for_every_step_from_1_on(backend: Backend) -> None:
    asked: list[int] = []
    x = Tensor([0.0], dtype="float64", requires_grad=True)
    optimiser = SGD([x], lambda step: asked.append(step) or 10.0**-step)
    for _ in range(3):
        x.grad = backend.from_host(np.ones(1))
        optimiser.step()
    assert asked == [1, 2, 3]
    assert x.item() == pytest.approx(-0.111, rel=1e-12)


@pytest.mark.parametrize("name", MAKERS)
def test_an_optimiser_goes_on_from_its_state_bit_for_bit(backend: Backend, name: str) -> None:
    def train(mlp: MLP, optimiser: Optimiser, steps: int) -> list[np.ndarray]:
        for _ in range(steps):
            optimiser.zero_grad()
            y = mlp(x)
            (y * y).sum().backward()
            optimiser.step()
        return [parameter.numpy() for parameter in mlp.parameters()]

    x = Tensor(np.random.default_rng(0).standard_normal((5, 4)).astype("float32"))
    whole, part, rest = (MLP((4, 3, 2), Noise(seed), "tanh") for seed in (0, 0, 1))
    wanted = train(whole, MAKERS[name](whole.parameters()), 9)
    before = MAKERS[name](part.parameters())
    train(part, before, 4)
    weights, state = part.state_dict(), before.state_dict()
    train(part, before, 2)  # a state is a copy
    rest.load_state_dict(weights)
    after = MAKERS[name](rest.parameters())
    after.load_state_dict(state)
    assert after.steps == 4
    for got, want in zip(train(rest, after, 5), wanted, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("spoil", [lambda s: s.pop("first"), lambda s: s.update(first=np.ones(2))])
def test_a_state_that_does_not_fit_is_refused(backend: Backend, spoil) -> None:
    optimiser = Adam([Tensor([1.0, 2.0, 3.0], requires_grad=True)])
    state = optimiser.state_dict()
    spoil(state)
    with pytest.raises(RunError, match=r"no 'first' of float32, shape \(3,\)"):
        optimiser.load_state_dict(state)


@pytest.mark.parametrize("name", MAKERS)
def test_an_optimiser_keeps_float32(backend: Backend, name: str) -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    optimiser = MAKERS[name]([x])
    (x * x).sum().backward()
    optimiser.step()
    assert {v.dtype.name for v in optimiser.state.values()} == {x.dtype} == {"float32"}


# Clipping


def clipped(gradient: np.ndarray, limit: float) -> tuple[float, np.ndarray]:
    x = Tensor(np.zeros_like(gradient), requires_grad=True)
    optimiser = SGD([x])
    x.grad = x.backend.from_host(gradient)
    norm = clip_global_norm(optimiser, limit)
    assert norm.shape == ()
    return float(norm), x.backend.to_host(x.grad)


@given(
    gradient=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9),
    size=st.sampled_from([1e-12, 1.0, 1e30]),
    limit=st.floats(1e-3, 1e3),
)
@example(gradient=[0.0, 0.0], size=1.0, limit=1.0)
@example(gradient=[100.0] * 9, size=1e30, limit=1.0)
def test_a_clipped_gradient_keeps_its_direction_and_has_at_most_the_limit_as_norm(
    backend: Backend, gradient: list[float], size: float, limit: float
) -> None:
    g = (np.array(gradient) * size).astype("float32")
    norm = math.hypot(*g.astype("float64"))
    found, after = clipped(g, limit)
    assert found == pytest.approx(norm, rel=1e-5, abs=1e-29)
    wanted = g.astype("float64") * (min(1.0, limit / norm) if norm else 1.0)
    np.testing.assert_allclose(after, wanted, rtol=2e-6, atol=1e-37)
    assert math.hypot(*after.astype("float64")) == pytest.approx(min(norm, limit), rel=1e-5, abs=0)


def test_what_decayed_below_the_normal_numbers_is_dropped_and_nothing_else(
    backend: Backend,
) -> None:
    optimiser = Adam([Tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)])
    kept = np.array([0.0, 1.2e-38, -1.2e-38, 3.0], dtype="float32")
    optimiser.state["first"][...] = backend.from_host(np.float32([1e-45, 1.2e-38, -1.2e-38, 3.0]))
    optimiser.state["second"][...] = backend.from_host(np.float32([-1e-39, 0.0, 1e38, 1e-37]))
    optimiser.drop_denormals()
    state = optimiser.state_dict()
    np.testing.assert_array_equal(state["first"], kept)
    np.testing.assert_array_equal(state["second"], np.float32([0.0, 0.0, 1e38, 1e-37]))
