"""JAX has our values and gradients, in float64: ops, layers, optimisers and steps of a VAE."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from comparison import CASES, KINKS, SCALES, assert_close, inputs_of, run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import EPSILON, RATE, Step, network, seeds, steps, widths

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.nn import ACTIVATIONS
from tinyvae.optim import SGD, Adam, Optimiser, RMSprop, clip_global_norm, exponential

jax = pytest.importorskip("jax", reason="compares with JAX: pip install 'tinyvae[compare]'")
jax.config.update("jax_platforms", "cpu")
jnp, stats = jax.numpy, pytest.importorskip("jax.scipy.stats")
theirs = pytest.importorskip("jax.example_libraries.optimizers")
Function = Callable[..., Any]
pytestmark = pytest.mark.slow  # JAX compiles every function for every shape


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """JAX computes in float32 unless told otherwise."""
    with jax.enable_x64(True):
        yield


def cross_entropy(logits: Any, targets: Any) -> Any:
    log_p, log_not_p = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    return -jnp.sum(targets * log_p + (1 - targets) * log_not_p, -1)


def kl(mean: Any, log_variance: Any, other_mean: Any = 0.0, other_log_variance: Any = 0.0) -> Any:
    v, w = jnp.exp(log_variance), jnp.exp(other_log_variance)
    quotients = (v + (mean - other_mean) ** 2) / w
    return jnp.sum(quotients - 1 + other_log_variance - log_variance, -1) / 2


def log_likelihood(x: Any, mean: Any, log_variance: Any) -> Any:
    return jnp.sum(stats.norm.logpdf(x, mean, jnp.exp(log_variance / 2)), -1)


LOG_2 = np.log(2)


def from_moments(mean: Any, variance: Any, entropy: Any) -> Any:
    """KL from N(0, 1): the mean of its -log density, less the entropy."""
    return jnp.sum((mean**2 + variance + jnp.log(2 * jnp.pi)) / 2 - entropy, -1)


def discretised_logistic(mean: Any, log_scale: Any, targets: Any) -> Any:
    """By the distribution function's differences, open at either end."""
    upper = jnp.where(targets < 1 - 1 / 510, targets + 1 / 510, 1e6)
    lower = jnp.where(targets > 1 / 510, targets - 1 / 510, -1e6)
    below = [stats.logistic.cdf(edge, mean, jnp.exp(log_scale)) for edge in (upper, lower)]
    return -jnp.sum(jnp.log(below[0] - below[1]), -1)


def factor(log_diagonal: Any, lower: Any) -> Any:
    """Lower triangular, with exp(log_diagonal) on the diagonal and the rest row by row."""
    k = log_diagonal.shape[-1]
    whole = jnp.exp(log_diagonal)[..., None] * jnp.eye(k)
    return whole.at[(..., *np.tril_indices(k, -1))].set(lower)


def mixture(z: Any, logits: Any, means: Any, log_variances: Any) -> Any:
    each = stats.norm.logpdf(z[:, None], means, jnp.exp(log_variances / 2)).sum(-1)
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + each, axis=-1)


FUNCTIONS: dict[str, Function] = {
    **{name: getattr(jnp, name) for name in ("add", "subtract", "multiply", "divide", "negative")},
    **{name: getattr(jnp, name) for name in ("maximum", "matmul", "exp", "log", "sqrt", "abs")},
    **{name: getattr(jnp, name) for name in ("tanh", "sum", "mean", "max", "transpose")},
    **{name: getattr(jax.nn, name) for name in ("sigmoid", "softplus", "relu", "elu")},
    **{name: getattr(jax.nn, name) for name in ("softmax", "log_softmax")},
    "power": lambda x, exponent: x**exponent,
    "affine": lambda x, weight, bias: x @ weight + bias,
    "affine_relu": lambda x, weight, bias: jax.nn.relu(x @ weight + bias),
    "leaky_relu": lambda x, slope=0.01: jax.nn.leaky_relu(x, slope),
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "logsumexp": lambda x, axis=-1, keepdims=False: jax.nn.logsumexp(x, axis, keepdims=keepdims),
    "reshape": lambda x, shape: x.reshape(*shape),
    "broadcast_to": lambda x, shape: jnp.broadcast_to(x, shape),
    "astype": lambda x, dtype: x.astype(dtype),
    "getitem": lambda x, index: x[index if isinstance(index, tuple) else np.array(index)],
    "concatenate": lambda *xs, axis=0: jnp.concatenate(xs, axis),
    "stack": lambda *xs, axis=0: jnp.stack(xs, axis),
    "bernoulli_cross_entropy": cross_entropy,
    "gaussian_sample": lambda m, s, noise: m + jnp.exp(s / 2) * noise,
    "kl_standard_normal": kl,
    "kl_gaussian": kl,
    "importance_bound": lambda w: jax.nn.logsumexp(w, -1) - jnp.log(w.shape[-1]),
    "gaussian_log_likelihood": log_likelihood,
    "laplace_log_likelihood": lambda x, m, s: jnp.sum(stats.laplace.logpdf(x, m, jnp.exp(s)), -1),
    "laplace_sample": lambda m, s, u: (
        m - jnp.exp(s) * jnp.sign(u - 0.5) * jnp.log(1 - 2 * jnp.abs(u - 0.5))
    ),
    "kl_laplace_standard_normal": lambda m, s: from_moments(m, 2 * jnp.exp(2 * s), 1 + LOG_2 + s),
    "logistic_log_likelihood": lambda x, m, s: jnp.sum(stats.logistic.logpdf(x, m, jnp.exp(s)), -1),
    "logistic_sample": lambda m, s, u: stats.logistic.ppf(u, m, jnp.exp(s)),
    "kl_logistic_standard_normal": lambda m, s: from_moments(
        m, jnp.pi**2 / 3 * jnp.exp(2 * s), 2 + s
    ),
    "uniform_log_likelihood": lambda x, m, s: jnp.sum(
        stats.uniform.logpdf(x, m - jnp.exp(s) / 2, jnp.exp(s)), -1
    ),
    "uniform_sample": lambda m, s, u: m + jnp.exp(s) * u - jnp.exp(s) / 2,
    "kl_uniform_standard_normal": lambda m, s: from_moments(m, jnp.exp(2 * s) / 12, s),
    "continuous_bernoulli_cross_entropy": lambda logits, t: (
        cross_entropy(logits, t) - jnp.sum(jnp.log(logits / jnp.tanh(logits / 2)), -1)
    ),
    "discretised_logistic_cross_entropy": discretised_logistic,
    "cholesky_sample": lambda m, d, a, n: m + jnp.einsum("...ij,...j", factor(d, a), n),
    "cholesky_log_likelihood": lambda x, m, d, a: stats.multivariate_normal.logpdf(
        x, m, jnp.einsum("...ik,...jk", factor(d, a), factor(d, a))
    ),
    "kl_cholesky_standard_normal": lambda m, d, a: (
        (jnp.sum(factor(d, a) ** 2, (-2, -1)) + jnp.sum(m**2 - 1 - 2 * d, -1)) / 2
    ),
    "mixture_log_likelihood": mixture,
    "categorical_cross_entropy": lambda logits, levels: (
        -jnp.sum(jax.nn.log_softmax(logits) * (levels[..., None] == jnp.arange(4)), (-2, -1))
    ),
}


def value_and_gradients(function: Function) -> Function:
    """Of a list of inputs and an upstream gradient, the value and the list of gradients."""

    def both(inputs: list[Any], upstream: Any) -> tuple[Any, Any]:
        value, pullback = jax.vjp(lambda xs: function(*xs), inputs)
        return value, pullback(upstream)[0]

    return jax.jit(both)


@cache
def compiled(case: str) -> Function:
    name, on = CASES[case]
    return value_and_gradients(lambda *xs: FUNCTIONS[name](*xs, **on.options))


@pytest.mark.parametrize("case", CASES)
def test_an_op_and_its_gradients_are_jaxs(backend: Backend, case: str) -> None:
    name, on = CASES[case]
    for scale, seed in itertools.product(SCALES, range(5)):
        inputs = inputs_of(name, on, scale, seed)
        result = run(backend, name, inputs, on.options)
        value, gradients = compiled(case)(inputs, result.upstream)
        assert_close(result.value, value)
        wanted = [g for x, g in zip(inputs, gradients, strict=True) if not isinstance(x, float)]
        for mine, other in zip(result.gradients, wanted, strict=True):
            assert_close(mine, other)


@pytest.mark.parametrize(("name", "inputs", "options"), KINKS[:4])
def test_the_subgradient_at_a_kink_or_a_tie_is_jaxs_too(
    backend: Backend, name: str, inputs: list[list[float]], options: dict[str, Any]
) -> None:
    """Of abs and leaky_relu JAX has the slope from the right at 0, of x**0.0 a NaN."""
    arrays = [np.array(x) for x in inputs]
    result = run(backend, name, arrays, options)
    there = value_and_gradients(lambda *xs: FUNCTIONS[name](*xs, **options))
    for mine, other in zip(result.gradients, there(arrays, result.upstream)[1], strict=True):
        assert_close(mine, other)


# Layers, and a whole training step


def dense(x: Any, parameters: Sequence[Any], activation: str) -> Any:
    """Dense layers with the activation between them; of each its weight and its bias."""
    *hidden, weight, bias = parameters
    for w, b in zip(hidden[::2], hidden[1::2], strict=True):
        x = FUNCTIONS[activation](x @ w + b)
    return x @ weight + bias


@cache
def dense_there(activation: str) -> Function:
    return value_and_gradients(lambda x, *parameters: dense(x, parameters, activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=3)
@given(sizes=widths, rows=st.integers(1, 7), seed=seeds)
def test_layers_and_their_gradients_are_jaxs(
    backend: Backend, activation: str, sizes: tuple[int, ...], rows: int, seed: int
) -> None:
    rng, ours = np.random.default_rng(seed), network(sizes, activation, seed)
    x = tv.Tensor(rng.uniform(-2, 2, (rows, sizes[0])), requires_grad=True)
    leaves, got, upstream = [x, *ours.parameters()], ours(x), rng.standard_normal((rows, 3))
    got.backward(backend.from_host(upstream))
    value, gradients = dense_there(activation)([leaf.numpy() for leaf in leaves], upstream)
    assert_close(got.numpy(), value)
    for mine, other in zip(leaves, gradients, strict=True):
        assert_close(backend.to_host(mine.grad), other)


def loss_there(step: Step, parameters: list[Any]) -> Any:
    (x, noise), half = step.batch(), len(parameters) // 2
    statistics = dense(x, parameters[:half], step.activation)
    mean, log_variance = jnp.split(statistics, 2, axis=-1)
    z = mean + jnp.exp(log_variance / 2) * noise
    logits = dense(z, parameters[half:], step.activation)
    cost = kl(mean[..., None], log_variance[..., None]).mean(0)  # (K,)
    return cross_entropy(logits, x).mean() + step.beta * jnp.maximum(cost, step.free_bits).sum()


@cache
def trained_there(step: Step) -> list[tuple[Any, Any, Any]]:
    """The loss, its gradients and the parameters after each of four steps of Adam."""
    start, update, parameters_of = theirs.adam(RATE, eps=EPSILON)
    loss_and_gradients = jax.value_and_grad(partial(loss_there, step))

    @jax.jit
    def train(k: int, state: Any) -> tuple[Any, Any, Any]:
        loss, gradients = loss_and_gradients(parameters_of(state))
        return loss, gradients, update(k, gradients, state)

    state, found = start([p.numpy() for p in step.model().parameters()]), []
    for k in range(4):
        loss, gradients, state = train(k, state)
        found.append((loss, gradients, parameters_of(state)))
    return found


@settings(max_examples=4)
@example(Step((4, 3), 3, (7, 5), "softplus", 6, 1.0, 0.0, seed=0))
@given(steps)
def test_training_steps_of_a_vae_are_jaxs(backend: Backend, step: Step) -> None:
    model = step.model()
    parameters = model.parameters()
    optimiser = Adam(parameters, RATE, epsilon=EPSILON)
    for loss, gradients, moved in trained_there(step):
        optimiser.zero_grad()
        terms = step.loss(model)
        terms.loss.backward()
        optimiser.step()
        assert_close(terms.loss.numpy(), loss)
        for mine, gradient, values in zip(parameters, gradients, moved, strict=True):
            assert_close(backend.to_host(mine.grad), gradient)
            assert_close(mine.numpy(), values)


# Optimisers, on gradients of any size

OPTIMISERS: dict[str, tuple[Callable[..., Optimiser], Function]] = {
    "SGD": (SGD, theirs.sgd),
    "momentum": (partial(SGD, momentum=0.9), partial(theirs.momentum, mass=0.9)),
    "Adam": (
        partial(Adam, beta1=0.8, beta2=0.99, epsilon=1e-6),
        partial(theirs.adam, b1=0.8, b2=0.99, eps=1e-6),
    ),
    "RMSprop": (  # without epsilon, which they have within the root
        partial(RMSprop, rho=0.95, epsilon=0.0),
        partial(theirs.rmsprop, gamma=0.95, eps=0.0),
    ),
}


@pytest.mark.parametrize("size", [1e-8, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_with_a_schedule_goes_where_jaxs_goes(
    backend: Backend, name: str, size: float
) -> None:
    here, there = OPTIMISERS[name]
    rng, x = np.random.default_rng(0), tv.Tensor(np.zeros(20), requires_grad=True)
    optimiser = here([x], exponential(0.02, 0.7))
    start, update, point = there(theirs.exponential_decay(0.02, 1, 0.7))
    state = start(np.zeros(20))
    for k in range(10):
        gradient = rng.normal(0, size, 20)
        x.grad = backend.from_host(gradient)
        optimiser.step()
        state = update(k, gradient, state)
        assert_close(x.numpy(), point(state))


@given(st.sampled_from([1e-8, 1.0, 1e3]), st.sampled_from([1e-3, 1.0, 100.0]), seeds)
def test_clipping_is_jaxs(backend: Backend, size: float, limit: float, seed: int) -> None:
    gradient = np.random.default_rng(seed).normal(0, size, 20)
    x = tv.Tensor(np.zeros(20), requires_grad=True)
    optimiser = SGD([x])
    x.grad = backend.from_host(gradient)
    assert float(clip_global_norm(optimiser, limit)) == pytest.approx(
        float(theirs.l2_norm(gradient))
    )
    assert_close(backend.to_host(x.grad), theirs.clip_grads(gradient, limit))
