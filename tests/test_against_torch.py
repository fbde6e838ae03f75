"""PyTorch has the value and every gradient of every op, with every option, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from comparison import CASES, KINKS, SCALES, assert_close, inputs_of, run
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvae.backend import Backend, use

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install 'tinyvae[compare]'")
F, dist = torch.nn.functional, torch.distributions
Function = Callable[..., Any]


def reduction(function: Function) -> Function:
    """The same with our options; theirs have no word for all axes."""

    def reduced(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(x, tuple(range(x.ndim)) if axis is None else axis, keepdims)

    return reduced


def logsumexp(x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    return reduction(torch.logsumexp)(x, axis, keepdims)


def pick(x: Any, index: Any) -> Any:
    """``x[index]``, where NumPy says which elements those are: PyTorch knows no negative step."""
    places = np.arange(x.numel()).reshape(x.shape)[index]
    return x.flatten()[torch.tensor(np.array(places))]


def gaussian(mean: Any, log_variance: Any) -> Any:
    return dist.Normal(mean, torch.exp(log_variance / 2))


def kl(mean: Any, log_variance: Any, other_mean: Any, other_log_variance: Any) -> Any:
    q, p = gaussian(mean, log_variance), gaussian(other_mean, other_log_variance)
    return dist.kl_divergence(q, p).sum(-1)


def kl_standard(mean: Any, log_variance: Any) -> Any:
    return kl(mean, log_variance, torch.zeros_like(mean), torch.zeros_like(mean))


def laplace(mean: Any, log_scale: Any) -> Any:
    return dist.Laplace(mean, exp(log_scale))


def logistic(mean: Any, log_scale: Any) -> Any:
    """The logit of a uniform number, moved and scaled: PyTorch has no name for it."""
    to = [dist.SigmoidTransform().inv, dist.AffineTransform(mean, exp(log_scale))]
    return dist.TransformedDistribution(dist.Uniform(torch.zeros_like(mean), 1.0), to)


def logistic_log_prob(x: Any, mean: Any, log_scale: Any) -> Any:
    """By its formula: PyTorch's softplus, in the density of `logistic`, is cut off at 20."""
    away = ((x - mean) * exp(-log_scale)).abs()
    return -away - log_scale - 2 * torch.log1p(torch.exp(-away))


def uniform(mean: Any, log_width: Any) -> Any:
    half = torch.exp(log_width) / 2
    return dist.Uniform(mean - half, mean + half)


def exp(number: Any) -> Any:
    return torch.exp(torch.as_tensor(number, dtype=torch.float64))


def from_standard(q: Any) -> Any:
    """KL(q || N(0, 1))."""
    p = dist.Normal(torch.zeros_like(q.mean), 1.0)
    return dist.kl_divergence(q, p).sum(-1)


def continuous_bernoulli(logits: Any, targets: Any) -> Any:
    return -dist.ContinuousBernoulli(logits=logits, lims=(0.5, 0.5)).log_prob(targets).sum(-1)


def discretised_logistic(mean: Any, log_scale: Any, targets: Any) -> Any:
    """By the distribution function's differences, open at either end."""
    far = torch.full_like(targets, 1e6)
    upper = torch.where(targets < 1 - 1 / 510, targets + 1 / 510, far)
    lower = torch.where(targets > 1 / 510, targets - 1 / 510, -far)
    below = [torch.sigmoid((edge - mean) / exp(log_scale)) for edge in (upper, lower)]
    return -torch.log(below[0] - below[1]).sum(-1)


def factor(log_diagonal: Any, lower: Any) -> Any:
    """Lower triangular, with exp(log_diagonal) on the diagonal and the rest row by row."""
    whole, k = torch.diag_embed(torch.exp(log_diagonal)), log_diagonal.shape[-1]
    rows, columns = torch.tril_indices(k, k, -1)
    places = torch.nn.functional.one_hot(rows * k + columns, k * k).to(lower.dtype)
    return whole + (lower @ places).reshape(whole.shape)


def full_gaussian(mean: Any, log_diagonal: Any, lower: Any) -> Any:
    return dist.MultivariateNormal(mean, scale_tril=factor(log_diagonal, lower))


def mixture(z: Any, logits: Any, means: Any, log_variances: Any) -> Any:
    components = dist.Independent(gaussian(means, log_variances), 1)
    return dist.MixtureSameFamily(dist.Categorical(logits=logits), components).log_prob(z)


FUNCTIONS: dict[str, Function] = {
    **{
        name: getattr(torch, name) for name in ("add", "subtract", "multiply", "divide", "negative")
    },
    **{name: getattr(torch, name) for name in ("maximum", "matmul", "exp", "log", "sqrt", "abs")},
    **{name: getattr(torch, name) for name in ("tanh", "sigmoid", "relu")},
    "power": lambda x, exponent: torch.pow(x, exponent),
    "affine": lambda x, weight, bias: F.linear(x, weight.T, bias),
    "affine_relu": lambda x, weight, bias: torch.relu(F.linear(x, weight.T, bias)),
    "softplus": lambda x: F.softplus(x, threshold=100),  # where it becomes x; by default 20
    "leaky_relu": lambda x, slope=0.01: F.leaky_relu(x, slope),
    "elu": lambda x, alpha=1.0: F.elu(x, alpha),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "sum": reduction(torch.sum),
    "mean": reduction(torch.mean),
    "max": reduction(torch.amax),
    "logsumexp": logsumexp,
    "softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "log_softmax": lambda x, axis=-1: torch.log_softmax(x, axis),
    "reshape": lambda x, shape: x.reshape(*shape),
    "transpose": lambda x, axes=None: x.permute(axes or tuple(reversed(range(x.ndim)))),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "astype": lambda x, dtype: x.to(getattr(torch, dtype)),
    "getitem": pick,
    "concatenate": lambda *xs, axis=0: torch.cat(xs, axis),
    "stack": lambda *xs, axis=0: torch.stack(xs, axis),
    "bernoulli_cross_entropy": lambda logits, targets: F.binary_cross_entropy_with_logits(
        logits, targets, reduction="none"
    ).sum(-1),
    "gaussian_sample": lambda m, s, noise: m + torch.exp(s / 2) * noise,
    "kl_standard_normal": kl_standard,
    "kl_gaussian": kl,
    "importance_bound": lambda w: torch.logsumexp(w, -1) - math.log(w.shape[-1]),
    "gaussian_log_likelihood": lambda x, m, s: gaussian(m, s).log_prob(x).sum(-1),
    "laplace_log_likelihood": lambda x, m, s: laplace(m, s).log_prob(x).sum(-1),
    "laplace_sample": lambda m, s, u: laplace(m, s).icdf(u),
    "kl_laplace_standard_normal": lambda m, s: from_standard(laplace(m, s)),
    "logistic_log_likelihood": lambda x, m, s: logistic_log_prob(x, m, s).sum(-1),
    "logistic_sample": lambda m, s, u: logistic(m, s).icdf(u),
    "kl_logistic_standard_normal": lambda m, s: (
        (m**2 + torch.exp(2 * s) * np.pi**2 / 3 + np.log(2 * np.pi)) / 2 - s - 2
    ).sum(-1),
    "uniform_log_likelihood": lambda x, m, s: (
        uniform(m, s).log_prob(x).sum(-1) + 0 * x.sum(-1)  # of which theirs has no gradient
    ),
    "uniform_sample": lambda m, s, u: uniform(m, s).icdf(u),
    "kl_uniform_standard_normal": lambda m, s: from_standard(uniform(m, s)),
    "continuous_bernoulli_cross_entropy": continuous_bernoulli,
    "discretised_logistic_cross_entropy": discretised_logistic,
    "cholesky_sample": lambda m, d, a, n: m + (factor(d, a) @ n[..., None])[..., 0],
    "cholesky_log_likelihood": lambda x, m, d, a: full_gaussian(m, d, a).log_prob(x),
    "kl_cholesky_standard_normal": lambda m, d, a: dist.kl_divergence(
        full_gaussian(m, d, a), full_gaussian(0 * m, 0 * d, 0 * a)
    ),
    "mixture_log_likelihood": mixture,
    "categorical_cross_entropy": lambda logits, levels: (
        -dist.Categorical(logits=logits).log_prob(levels.detach()).sum(-1) + 0 * levels.sum(-1)
    ),
}


def assert_pytorchs(
    backend: Backend, name: str, inputs: Sequence[Any], options: dict[str, Any]
) -> None:
    result = run(backend, name, inputs, options)
    theirs = [
        torch.tensor(x, dtype=torch.float64, requires_grad=not isinstance(x, float)) for x in inputs
    ]
    value = FUNCTIONS[name](*theirs, **options)
    value.backward(torch.tensor(result.upstream))
    assert_close(result.value, value.detach())
    wanted = [x.grad for x in theirs if x.requires_grad]
    for mine, other in zip(result.gradients, wanted, strict=True):
        assert_close(mine, other)


@pytest.mark.parametrize("case", CASES)
def test_an_op_and_its_gradients_are_pytorchs(backend: Backend, case: str) -> None:
    name, on = CASES[case]
    for scale in SCALES:
        assert_pytorchs(backend, name, inputs_of(name, on, scale, seed=0), on.options)


@settings(max_examples=500)
@given(st.sampled_from(list(CASES)), st.sampled_from(SCALES), st.integers(0, 2**32 - 1))
def test_every_op_is_pytorchs_on_any_data(case: str, scale: float, seed: int) -> None:
    name, on = CASES[case]
    with use("numpy") as backend:
        assert_pytorchs(backend, name, inputs_of(name, on, scale, seed), on.options)


@pytest.mark.parametrize(("name", "inputs", "options"), KINKS)
def test_the_subgradient_at_a_kink_or_a_tie_is_pytorchs(
    backend: Backend, name: str, inputs: list[list[float]], options: dict[str, Any]
) -> None:
    assert_pytorchs(backend, name, [np.array(x) for x in inputs], options)
