"""PyTorch trains as we do: layers, optimisers, clipping, schedules, and steps of a whole VAE."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from comparison import assert_close
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import EPSILON, FULL_SIZE, RATE, Step, network, seeds, steps, widths

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.nn import ACTIVATIONS
from tinyvae.optim import SGD, Adam, AdamW, RMSprop, clip_global_norm, cosine, exponential

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install 'tinyvae[compare]'")
nn, dist, schedulers = torch.nn, torch.distributions, torch.optim.lr_scheduler

MODULES: dict[str, Any] = {
    **{"relu": nn.ReLU(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "elu": nn.ELU()},
    **{"leaky_relu": nn.LeakyReLU(), "gelu": nn.GELU("tanh")},
    "softplus": nn.Softplus(threshold=100),  # where it becomes the identity; by default 20
}


def dense(ours: list[tv.Tensor], sizes: tuple[int, ...], activation: str) -> Any:
    """Dense layers with the activation between them, and our weights; theirs are transposed."""
    layers = [nn.Linear(*pair, dtype=torch.float64) for pair in itertools.pairwise(sizes)]
    hidden = itertools.chain(*((layer, MODULES[activation]) for layer in layers[:-1]))
    made = nn.Sequential(*hidden, layers[-1])
    weights = (torch.tensor(parameter.numpy().T) for parameter in ours)
    made.load_state_dict(dict(zip(made.state_dict(), weights, strict=True)))
    return made


def assert_same(backend: Backend, ours: list[tv.Tensor], theirs: list[Any]) -> None:
    """The parameters and their gradients are PyTorch's."""
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine.numpy().T, other.detach())
        assert_close(backend.to_host(mine.grad).T, other.grad)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=15)
@given(sizes=widths, rows=st.integers(1, 7), scale=st.sampled_from([1e-3, 0.1, 2.0]), seed=seeds)
def test_layers_and_their_gradients_are_pytorchs(
    backend: Backend, activation: str, sizes: tuple[int, ...], rows: int, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-scale, scale, (rows, sizes[0]))  # not where tanh' has lost its digits
    ours, mine = network(sizes, activation, seed), tv.Tensor(x, requires_grad=True)
    theirs = dense(ours.parameters(), (*sizes, 3), activation)
    other = torch.tensor(x, requires_grad=True)
    got, wanted = ours(mine), theirs(other)
    upstream = rng.standard_normal(got.shape)
    got.backward(backend.from_host(upstream))
    wanted.backward(torch.tensor(upstream))
    assert_close(got.numpy(), wanted.detach())
    assert_same(backend, ours.parameters(), list(theirs.parameters()))
    assert_close(backend.to_host(mine.grad), other.grad)


# A whole training step


def loss_there(encoder: Any, decoder: Any, step: Step) -> tuple[Any, Any, Any]:
    """The loss, and for each image its cross-entropy and KL."""
    x, noise = map(torch.tensor, step.batch())
    mean, log_variance = encoder(x).chunk(2, -1)
    q = dist.Normal(mean, torch.exp(log_variance / 2))
    kl = dist.kl_divergence(q, dist.Normal(torch.zeros_like(mean), 1.0))  # (B, K)
    p = dist.Bernoulli(logits=decoder(mean + q.scale * noise), validate_args=False)  # grey too
    cross_entropy = -p.log_prob(x).sum(-1)
    cost = kl.mean(0).clamp(min=step.free_bits).sum()
    return cross_entropy.mean() + step.beta * cost, cross_entropy, kl.sum(-1)


@settings(max_examples=25)
@example(FULL_SIZE)
@given(steps)
def test_training_steps_of_a_vae_are_pytorchs(backend: Backend, step: Step) -> None:
    model = step.model()
    encoder = dense(model.encoder.parameters(), step.widths, step.activation)
    decoder = dense(model.decoder.parameters(), step.widths_back, step.activation)
    ours, theirs = model.parameters(), [*encoder.parameters(), *decoder.parameters()]
    optimisers = Adam(ours, RATE, epsilon=EPSILON), torch.optim.Adam(theirs, RATE, eps=EPSILON)
    for _ in range(4):
        for optimiser in optimisers:
            optimiser.zero_grad()
        terms, wanted = step.loss(model), loss_there(encoder, decoder, step)
        terms.loss.backward()
        wanted[0].backward()
        for got, other in zip(terms[:3], wanted, strict=True):
            assert_close(got.numpy(), other.detach())
        for optimiser in optimisers:
            optimiser.step()
        assert_same(backend, ours, theirs)


# Optimisers, on gradients of any size

fractions = st.sampled_from([0.0, 0.9]) | st.floats(0, 0.9999)
epsilons = st.sampled_from([1e-8, 1e-4, 1.0])
betas = {"beta1": fractions, "beta2": fractions, "epsilon": epsilons}
OPTIMISERS: dict[str, tuple[Callable[..., Any], Callable[..., Any], dict[str, Any]]] = {
    "SGD": (SGD, torch.optim.SGD, {}),
    "momentum": (SGD, torch.optim.SGD, {"momentum": fractions}),
    "Adam": (
        Adam,
        lambda p, rate, beta1, beta2, epsilon: torch.optim.Adam(
            p, rate, betas=(beta1, beta2), eps=epsilon
        ),
        betas,
    ),
    "AdamW": (
        AdamW,
        lambda p, rate, beta1, beta2, epsilon, decay: torch.optim.AdamW(
            p, rate, betas=(beta1, beta2), eps=epsilon, weight_decay=decay
        ),
        betas | {"decay": st.sampled_from([0.01, 0.5])},
    ),
    "RMSprop": (
        RMSprop,
        lambda p, rate, rho, epsilon: torch.optim.RMSprop(p, rate, alpha=rho, eps=epsilon),
        {"rho": fractions, "epsilon": epsilons},
    ),
}
SHAPES = ((3, 4), (4,), ())
magnitudes = st.sampled_from([1e-8, 1e-3, 1.0, 1e3])


def zeros_in_both() -> tuple[list[tv.Tensor], list[Any]]:
    """Parameters that begin at 0, where no rounding of theirs hides a step."""
    ours = [tv.Tensor(np.zeros(shape), requires_grad=True) for shape in SHAPES]
    return ours, [torch.zeros(s, dtype=torch.float64, requires_grad=True) for s in SHAPES]


def draw_gradients(
    rng: np.random.Generator, magnitude: float, ours: list[tv.Tensor], theirs: list[Any]
) -> None:
    """The same in both, some of them 0."""
    for mine, other in zip(ours, theirs, strict=True):
        kept = rng.random(mine.shape) < 0.9
        gradient = np.asarray(rng.normal(0, magnitude, mine.shape) * kept)
        mine.grad, other.grad = mine.backend.from_host(gradient), torch.tensor(gradient)


def flat(arrays: Iterable[Any]) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in arrays])


@pytest.mark.parametrize("name", OPTIMISERS)
@settings(max_examples=20)
@given(st.data(), st.floats(1e-4, 0.1), st.integers(1, 5), magnitudes, seeds)
def test_an_optimiser_with_a_schedule_goes_where_pytorchs_goes(
    backend: Backend, name: str, data: Any, rate: float, every: int, magnitude: float, seed: int
) -> None:
    here, there, strategies = OPTIMISERS[name]
    options, rng = data.draw(st.fixed_dictionaries(strategies)), np.random.default_rng(seed)
    ours, theirs = zeros_in_both()
    optimiser = here(ours, exponential(rate, 0.7, every), **options)
    optimiser_there = there(theirs, rate, **options)
    schedule = schedulers.StepLR(optimiser_there, every, gamma=0.7)
    for _ in range(10):
        draw_gradients(rng, magnitude, ours, theirs)
        for moving in (optimiser, optimiser_there, schedule):
            moving.step()
        assert_close(flat(p.numpy() for p in ours), flat(p.detach() for p in theirs))


@given(magnitudes, st.sampled_from([1e-3, 1.0, 100.0]), seeds)
def test_clipping_is_pytorchs_but_for_its_millionth(
    backend: Backend, magnitude: float, limit: float, seed: int
) -> None:
    ours, theirs = zeros_in_both()
    optimiser = SGD(ours)
    draw_gradients(np.random.default_rng(seed), magnitude, ours, theirs)
    norm = torch.nn.utils.clip_grad_norm_(theirs, limit).item()
    assert float(clip_global_norm(optimiser, limit)) == pytest.approx(norm, rel=1e-12)
    millionth = min(1.0, limit / norm) / min(1.0, limit / (norm + 1e-6))  # they add it to the norm
    wanted = flat(p.grad * millionth for p in theirs)
    assert_close(flat(backend.to_host(p.grad) for p in ours), wanted)


def rates_there(schedule: Callable[..., Any], peak: float, count: int) -> list[float]:
    """The learning rate of each step by one of PyTorch's schedules."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], peak)
    made, rates = schedule(optimiser), []
    for _ in range(count):
        rates.append(made.get_last_lr()[0])
        optimiser.step()
        made.step()
    return rates


@given(st.floats(1e-5, 10), st.integers(1, 50), st.integers(1, 20))
def test_the_cosine_and_its_warm_up_have_pytorchs_rates(peak: float, steps: int, up: int) -> None:
    """Their cosine begins at the peak, where our warm-up ends."""
    ours = [cosine(peak, up + steps, warm_up=up)(t) for t in range(1, up + steps + 1)]
    rising = rates_there(lambda o: schedulers.LinearLR(o, 1 / up, 1, up - 1), peak, up)
    falling = rates_there(lambda o: schedulers.CosineAnnealingLR(o, steps), peak, steps + 1)
    assert_close(ours[:up], rising)
    assert_close(ours[up - 1 :], falling)
