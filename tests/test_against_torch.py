"""The same in PyTorch: ops, optimisers, clipping and one training step, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyvae.autograd import OPS, Tensor
from tinyvae.autograd.ops import split
from tinyvae.backend import Backend
from tinyvae.nn import MLP
from tinyvae.noise import Noise
from tinyvae.optim import SGD, Adam, AdamW, Optimiser, RMSprop, clip_global_norm

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install 'tinyvae[compare]'")
F, dist = torch.nn.functional, torch.distributions
Case = tuple[Callable[..., Any], tuple[tuple[int, ...], ...], dict[str, Any]]
MATRIX = (3, 4)


def gaussian(mean: Any, log_variance: Any) -> Any:
    return dist.Normal(mean, torch.exp(log_variance / 2))


def cross_entropy(logits: Any, targets: Any) -> Any:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)


def standard_kl(mean: Any, log_variance: Any) -> Any:
    zero = torch.zeros_like(mean)
    return dist.kl_divergence(gaussian(mean, log_variance), gaussian(zero, zero)).sum(-1)


def kl(mean: Any, log_variance: Any, other_mean: Any, other_log_variance: Any) -> Any:
    q, p = gaussian(mean, log_variance), gaussian(other_mean, other_log_variance)
    return dist.kl_divergence(q, p).sum(-1)


ONE = {  # ops of one matrix, with no options
    **{name: getattr(torch, name) for name in ("exp", "abs", "tanh", "sigmoid", "relu", "sqrt")},
    **{"negative": torch.neg, "log": torch.log, "elu": F.elu, "leaky_relu": F.leaky_relu},
    **{"softplus": F.softplus, "gelu": lambda x: F.gelu(x, approximate="tanh")},
    **{"sum": torch.sum, "mean": torch.mean, "max": torch.max, "transpose": lambda x: x.T},
    **{"softmax": lambda x: torch.softmax(x, -1), "log_softmax": lambda x: F.log_softmax(x, -1)},
    "logsumexp": lambda x: torch.logsumexp(x, -1),
}
TWO = {  # ops of two matrices that broadcast
    **{"add": torch.add, "subtract": torch.sub, "multiply": torch.mul, "divide": torch.div},
    "maximum": torch.maximum,
}
SAME = {  # of arrays of one shape
    "bernoulli_cross_entropy": (cross_entropy, 2),
    "gaussian_sample": (lambda m, s, noise: m + torch.exp(s / 2) * noise, 3),
    "kl_standard_normal": (standard_kl, 2),
    "kl_gaussian": (kl, 4),
    "gaussian_log_likelihood": (lambda x, m, s: gaussian(m, s).log_prob(x).sum(-1), 3),
}
PICK = ([2, 0, 2],)
CASES: list[tuple[str, Case]] = [
    *((name, (theirs, (MATRIX,), {})) for name, theirs in ONE.items()),
    *((name, (theirs, (MATRIX, MATRIX), {})) for name, theirs in TWO.items()),
    *((name, (theirs, ((3, 1), (2, 1, 4)), {})) for name, theirs in TWO.items()),
    *((name, (theirs, (MATRIX,) * n, {})) for name, (theirs, n) in SAME.items()),
    ("power", (lambda x: x**2.5, (MATRIX,), {"exponent": 2.5})),
    ("affine", (lambda x, w, b: x @ w + b, ((5, 3), MATRIX, (4,)), {})),
    ("matmul", (torch.matmul, ((5, 3), MATRIX), {})),
    ("matmul", (torch.matmul, ((2, 5, 3), MATRIX), {})),
    ("matmul", (torch.matmul, ((3,), (3,)), {})),
    ("elu", (lambda x: F.elu(x, 0.5), (MATRIX,), {"alpha": 0.5})),
    ("leaky_relu", (lambda x: F.leaky_relu(x, 0.2), (MATRIX,), {"slope": 0.2})),
    ("sum", (lambda x: x.sum((0, 2)), ((2, 3, 4),), {"axis": (0, 2)})),
    ("mean", (lambda x: x.mean(1, keepdim=True), (MATRIX,), {"axis": 1, "keepdims": True})),
    ("max", (lambda x: x.amax(-1), (MATRIX,), {"axis": -1})),
    ("softmax", (lambda x: torch.softmax(x, 0), (MATRIX,), {"axis": 0})),
    ("log_softmax", (lambda x: F.log_softmax(x, 0), (MATRIX,), {"axis": 0})),
    ("logsumexp", (lambda x: torch.logsumexp(x, (0, 1)), (MATRIX,), {"axis": None})),
    ("reshape", (lambda x: x.reshape(2, -1), (MATRIX,), {"shape": (2, -1)})),
    ("transpose", (lambda x: x.permute(2, 0, 1), ((2, 3, 4),), {"axes": (2, 0, 1)})),
    ("broadcast_to", (lambda x: x.expand(2, 3, 4), ((3, 1),), {"shape": (2, 3, 4)})),
    ("astype", (lambda x: x.double(), (MATRIX,), {"dtype": "float64"})),
    ("getitem", (lambda x: x[1:, ::2], (MATRIX,), {"index": np.s_[1:, ::2]})),
    ("getitem", (lambda x: x[PICK], (MATRIX,), {"index": PICK})),
    ("concatenate", (lambda *x: torch.cat(x, 1), (MATRIX, (3, 2)), {"axis": 1})),
    ("stack", (lambda *x: torch.stack(x, -1), (MATRIX, MATRIX), {"axis": -1})),
]


def test_every_op_is_compared() -> None:
    assert {name for name, _ in CASES} == set(OPS)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{n}-{c[1]}" for n, c in CASES])
def test_an_op_and_its_gradients_are_pytorchs(backend: Backend, name: str, case: Case) -> None:
    function, shapes, options = case
    rng = np.random.default_rng(len(name))
    positive = name in ("log", "sqrt", "power", "divide", "bernoulli_cross_entropy")
    inputs = [rng.uniform(0.1, 0.9, s) if positive else rng.standard_normal(s) for s in shapes]
    theirs = [torch.tensor(x, requires_grad=True) for x in inputs]
    wanted = function(*theirs)
    upstream = rng.standard_normal(tuple(wanted.shape))
    wanted.backward(torch.tensor(upstream))
    ours = [Tensor(x, requires_grad=True) for x in inputs]
    got = OPS[name](*ours, **options)
    got.backward(backend.from_host(np.asarray(upstream)))
    close(got.numpy(), wanted.detach(), 1e-10)
    for mine, other in zip(ours, theirs, strict=True):
        close(backend.to_host(mine.grad), other.grad, 1e-10)


def close(got: np.ndarray, wanted: Any, tolerance: float) -> None:
    np.testing.assert_allclose(got, wanted.numpy(), rtol=tolerance, atol=tolerance)


def to_torch(mlp: MLP) -> Any:
    """The same layers there, with the same weights; theirs are stored transposed."""
    layers = []
    for layer in mlp.layers:
        if not hasattr(layer, "weight"):
            layers.append(torch.nn.ReLU())
            continue
        linear = torch.nn.Linear(*layer.weight.shape, dtype=torch.float64)
        linear.weight.data = torch.tensor(layer.weight.numpy().T)
        linear.bias.data = torch.tensor(layer.bias.numpy())
        layers.append(linear)
    return torch.nn.Sequential(*layers)


OPTIMISERS: dict[str, tuple[Callable[..., Optimiser], Callable[..., Any]]] = {
    "SGD": (lambda p: SGD(p, 0.02), lambda p: torch.optim.SGD(p, 0.02)),
    "momentum": (
        lambda p: SGD(p, 0.02, momentum=0.9),
        lambda p: torch.optim.SGD(p, 0.02, momentum=0.9),
    ),
    "Adam": (
        lambda p: Adam(p, 0.01, beta1=0.8, beta2=0.99, epsilon=1e-6),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.99), eps=1e-6),
    ),
    "AdamW": (
        lambda p: AdamW(p, 0.01, decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    ),
    "RMSprop": (
        lambda p: RMSprop(p, 0.01, rho=0.95),
        lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.95),
    ),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_goes_where_pytorchs_goes(backend: Backend, name: str) -> None:
    x = np.random.default_rng(0).standard_normal((6, 5))
    mlp = MLP((5, 4, 3), Noise(0)).to(dtype="float64")
    other, (ours, theirs) = to_torch(mlp), OPTIMISERS[name]
    optimiser, other_optimiser = ours(mlp.parameters()), theirs(other.parameters())
    for _ in range(20):
        for o in (optimiser, other_optimiser):
            o.zero_grad()
        OPS["softplus"](mlp(Tensor(x))).sum().backward()
        F.softplus(other(torch.tensor(x))).sum().backward()
        optimiser.step()
        other_optimiser.step()
    for got, wanted in zip(mlp.parameters(), other.parameters(), strict=True):
        close(got.numpy().T, wanted.detach(), 1e-10)


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clipping_is_pytorchs_but_for_its_millionth(backend: Backend, limit: float) -> None:
    gradient = np.random.default_rng(0).standard_normal(50)
    ours = Tensor(gradient, requires_grad=True)
    theirs = torch.tensor(gradient, requires_grad=True)
    theirs.grad = torch.tensor(gradient)
    norm = torch.nn.utils.clip_grad_norm_([theirs], limit).item()
    optimiser = SGD([ours])
    ours.grad = backend.from_host(gradient)
    assert float(clip_global_norm(optimiser, limit)) == pytest.approx(norm, rel=1e-12)
    millionth = (norm + 1e-6) / norm if norm > limit else 1.0  # PyTorch adds it to the norm
    close(backend.to_host(ours.grad), theirs.grad * millionth, 1e-12)


B, D, H, K = 32, 784, 400, 20


def test_a_training_step_of_a_vae_is_pytorchs(backend: Backend) -> None:
    noise, rng = Noise(0), np.random.default_rng(0)
    x, epsilon = rng.random((B, D)), rng.standard_normal((B, K))
    encoder, decoder = (MLP(w, noise).to(dtype="float64") for w in ((D, H, 2 * K), (K, H, D)))
    encoder_, decoder_ = to_torch(encoder), to_torch(decoder)
    ours = encoder.parameters() + decoder.parameters()
    theirs = [*encoder_.parameters(), *decoder_.parameters()]
    optimiser, optimiser_ = Adam(ours), torch.optim.Adam(theirs)

    mean, log_variance = split(encoder(Tensor(x)), 2)
    logits = decoder(OPS["gaussian_sample"](mean, log_variance, Tensor(epsilon)))
    distortion = OPS["bernoulli_cross_entropy"](logits, Tensor(x))
    loss = (distortion + OPS["kl_standard_normal"](mean, log_variance)).mean()
    loss.backward()

    mean_, log_variance_ = encoder_(torch.tensor(x)).chunk(2, -1)
    logits_ = decoder_(mean_ + torch.exp(log_variance_ / 2) * torch.tensor(epsilon))
    distortion_ = cross_entropy(logits_, torch.tensor(x))
    kl_ = 0.5 * (mean_**2 + log_variance_.exp() - 1 - log_variance_).sum(-1)
    loss_ = (distortion_ + kl_).mean()
    loss_.backward()

    assert loss.item() == pytest.approx(loss_.item(), rel=1e-12)
    for got, wanted in zip(ours, theirs, strict=True):
        gradient = wanted.grad.numpy().T
        error = np.abs(backend.to_host(got.grad) - gradient)
        assert error.max() <= 1e-12 * np.abs(gradient).max()
    optimiser.step()
    optimiser_.step()
    for got, wanted in zip(ours, theirs, strict=True):
        close(got.numpy().T, wanted.detach(), 1e-9)
