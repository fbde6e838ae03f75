"""The competitor PyTorch: the same VAE as its users write it, eager and compiled."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Any

import torch
from cases import BETA1, BETA2, EPSILON, RATE, Case
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn.functional import binary_cross_entropy_with_logits


class TorchVAE(nn.Module):
    """Dense layers with ReLUs between; one head of 2 K outputs for the posterior."""

    def __init__(self, pixels: int, hidden: Sequence[int], latent: int) -> None:
        super().__init__()
        self.encoder = _mlp(pixels, *hidden, 2 * latent)
        self.decoder = _mlp(latent, *reversed(hidden), pixels)

    def terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and KL, each summed over the batch, in nats."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)  # (B, K)
        z = mean + torch.exp(0.5 * log_variance) * noise  # (B, K)
        cross_entropy = binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        return cross_entropy, kl

    def iwae(self, x: Tensor, noise: Tensor) -> Tensor:
        """The negative bound of the importance weighted autoencoder; noise (B, k, K)."""
        batch, k, _ = noise.shape
        mean, log_variance = self.encoder(x)[:, None].chunk(2, dim=2)  # (B, 1, K)
        z = mean + torch.exp(0.5 * log_variance) * noise  # (B, k, K)
        logits = self.decoder(z.flatten(0, 1)).view(batch, k, -1)  # (B, k, D)
        target = x[:, None].expand_as(logits)
        log_p_x = -binary_cross_entropy_with_logits(logits, target, reduction="none").sum(2)
        log_p_z = -0.5 * z.pow(2).sum(2)  # (B, k); log 2 pi is in both, and goes
        log_q = -0.5 * (noise.pow(2) + log_variance).sum(2)
        return math.log(k) - torch.logsumexp(log_p_x + log_p_z - log_q, dim=1).mean()

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """The loss: IWAE's for noise of (B, k, K), else the negative ELBO."""
        return self.iwae(x, noise) if noise.ndim == 3 else sum(self.terms(x, noise)) / len(x)


def _mlp(*widths: int) -> nn.Sequential:
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def train_step(
    model: TorchVAE, optimiser: torch.optim.Optimizer, x: Tensor, noise: Tensor
) -> Tensor:
    """The loss forward, the gradients backward, the parameters along them."""
    loss = model(x, noise)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


# The contestants


class TorchStep:
    """Eager, with `torch.optim.Adam`.

    ``x`` may hold more than a batch, from which a call takes ``rows``.
    """

    keeps_gradients, steps = True, 1
    kind: type[TorchVAE] = TorchVAE

    def __init__(
        self, case: Case, weights: list[Any], x: Any, dtype: str, device: str = "cpu", **adam: bool
    ) -> None:
        self.shape, self.dtype = case.noise_shape[1:], getattr(torch, dtype)
        self.x = torch.from_numpy(x).to(device, self.dtype)
        self.model = self.kind(case.pixels, case.hidden, case.latent).to(device, self.dtype)
        self.adam = adam
        self.restart(weights)

    def restart(self, weights: list[Any]) -> None:
        """Go on from these weights as from the first ones."""
        self.set_parameters(weights)
        self.optimiser = torch.optim.Adam(self.model.parameters(), RATE, **self.adam)

    def __call__(self, noise: Any = None, rows: Tensor | None = None) -> Tensor:
        x = self.x if rows is None else self.x[rows]
        return self.train(x, self.drawn(len(x)) if noise is None else self.tensor(noise))

    def drawn(self, count: int) -> Tensor:
        return torch.randn((count, *self.shape), dtype=self.dtype, device=self.x.device)

    def tensor(self, noise: Any) -> Tensor:
        return torch.from_numpy(noise).to(self.x.device)

    def train(self, x: Tensor, noise: Tensor) -> Tensor:
        return train_step(self.model, self.optimiser, x, noise)

    def wait(self) -> None:
        """On a CPU PyTorch is done when it returns."""
        if self.x.is_cuda:
            torch.cuda.synchronize()

    def set_parameters(self, weights: list[Any]) -> None:
        with torch.no_grad():
            for p, array in zip(self.model.parameters(), weights, strict=True):
                p.copy_(torch.from_numpy(array.T))  # PyTorch keeps (O, I)

    def gradients(self) -> list[Any]:
        return [p.grad.cpu().numpy().T.copy() for p in self.model.parameters()]

    def parameters(self) -> list[Any]:
        return [p.detach().cpu().numpy().T.copy() for p in self.model.parameters()]


class CompiledStep(TorchStep):
    """One compiled function of parameters, moments, pixels and noise, called from C++.

    The quickest that was found; also tried were the loss alone compiled, with fused Adam or
    a compiled one outside, ``mode="max-autotune"``, and noise that is drawn inside.
    """

    keeps_gradients = False  # its first mean is the gradient of the first step

    def __init__(self, case: Case, weights: list[Any], x: Any, dtype: str, **given: Any) -> None:
        super().__init__(case, weights, x, dtype, **given)
        self.weights = {name: p.detach() for name, p in self.model.named_parameters()}
        self.moments = [
            {name: torch.zeros_like(p) for name, p in self.weights.items()} for _ in range(2)
        ]
        self.t = torch.zeros((), dtype=self.dtype, device=self.x.device)
        self.whole = torch.no_grad()(self.compiled())

    def compiled(self) -> Callable[..., Tensor]:
        self.cache = tempfile.TemporaryDirectory()
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = self.cache.name
        whole = _whole(self.model, _adam)
        return torch.compile(whole, dynamic=False, options={"cpp_wrapper": True})

    def train(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.whole(self.weights, *self.moments, self.t, x, noise)

    def gradients(self) -> list[Any]:
        return [first.cpu().numpy().T / (1 - BETA1) for first in self.moments[0].values()]


class GraphStep(CompiledStep):
    """The same as one CUDA graph, ``mode="reduce-overhead"``; noise and batch are its own, too.

    The graph takes in place what is marked as staying where it is, and copies what is not. On
    a CPU there is no graph.
    """

    def compiled(self) -> Callable[..., Tensor]:
        kept = (part.values() for part in (self.weights, *self.moments))
        for tensor in (*chain(*kept), self.t, self.x):
            torch._dynamo.mark_static_address(tensor, guard=False)
        whole = _whole(self.model, _adam_of_all, self.drawn)
        return torch.compile(whole, dynamic=False, mode="reduce-overhead")

    def restart(self, weights: list[Any]) -> None:
        self.set_parameters(weights)
        if hasattr(self, "moments"):
            for tensor in (*chain(*(m.values() for m in self.moments)), self.t):
                tensor.zero_()

    def __call__(self, noise: Any = None, rows: Tensor | None = None) -> Tensor:
        given = None if noise is None else self.tensor(noise)
        return self.whole(self.weights, *self.moments, self.t, self.x, given, rows)


Tensors = dict[str, Tensor]


def _whole(
    model: TorchVAE, adam: Callable[..., None], drawn: Callable[[int], Tensor] | None = None
) -> Callable[..., Tensor]:
    """Noise unless it is given, forward, backward, and Adam in place."""
    both = grad_and_value(lambda weights, x, noise: functional_call(model, weights, (x, noise)))

    def step(
        weights: Tensors,
        first: Tensors,
        second: Tensors,
        t: Tensor,
        x: Tensor,
        noise: Tensor | None,
        rows: Tensor | None = None,
    ) -> Tensor:
        x = x if rows is None else x[rows]
        gradients, loss = both(weights, x, drawn(len(x)) if noise is None else noise)
        t += 1
        adam(weights, first, second, t, gradients)
        return loss

    return step


def _adam(weights: Tensors, first: Tensors, second: Tensors, t: Tensor, gradients: Tensors) -> None:
    rate, scale = RATE / (1 - BETA1**t), 1 - BETA2**t
    for name, g in gradients.items():
        first[name].lerp_(g, 1 - BETA1)
        second[name].lerp_(g * g, 1 - BETA2)
        weights[name] -= rate * first[name] / ((second[name] / scale).sqrt() + EPSILON)


def _adam_of_all(
    weights: Tensors, first: Tensors, second: Tensors, t: Tensor, gradients: Tensors
) -> None:
    """All parameters in one kernel, as PyTorch's own Adam on a GPU."""
    p, m, v = (list(part.values()) for part in (weights, first, second))
    g = [gradients[name] for name in weights]
    torch._foreach_lerp_(m, g, 1 - BETA1)
    torch._foreach_mul_(v, BETA2)
    torch._foreach_addcmul_(v, g, g, 1 - BETA2)
    roots = torch._foreach_sqrt(v)
    torch._foreach_div_(roots, (1 - BETA2**t).sqrt())
    torch._foreach_add_(roots, EPSILON)
    moves = torch._foreach_div(m, roots)
    torch._foreach_mul_(moves, RATE / (1 - BETA1**t))
    torch._foreach_sub_(p, moves)
