"""The competitor PyTorch: the same VAE as its users write it, eager and compiled."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
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
    """Eager, with `torch.optim.Adam`."""

    keeps_gradients = True

    def __init__(self, case: Case, weights: list[Any], x: Any, dtype: str, **adam: bool) -> None:
        self.shape, self.dtype = case.noise_shape, getattr(torch, dtype)
        self.x = torch.from_numpy(x).to(self.dtype)
        self.model = TorchVAE(case.pixels, case.hidden, case.latent).to(self.dtype)
        self.set_parameters(weights)
        self.optimiser = torch.optim.Adam(self.model.parameters(), RATE, **adam)

    def __call__(self, noise: Any = None) -> Tensor:
        given = torch.randn(self.shape, dtype=self.dtype) if noise is None else _tensor(noise)
        return self.train(given)

    def train(self, noise: Tensor) -> Tensor:
        return train_step(self.model, self.optimiser, self.x, noise)

    def wait(self) -> None:
        """On a CPU PyTorch is done when it returns."""

    def set_parameters(self, weights: list[Any]) -> None:
        with torch.no_grad():
            for p, array in zip(self.model.parameters(), weights, strict=True):
                p.copy_(torch.from_numpy(array.T))  # PyTorch keeps (O, I)

    def gradients(self) -> list[Any]:
        return [p.grad.numpy().T.copy() for p in self.model.parameters()]

    def parameters(self) -> list[Any]:
        return [p.detach().numpy().T.copy() for p in self.model.parameters()]


def _tensor(noise: Any) -> Tensor:
    return torch.from_numpy(noise)


class CompiledStep(TorchStep):
    """One compiled function of parameters, moments, pixels and noise, called from C++.

    The quickest that was found; also tried were the loss alone compiled, with fused Adam or
    a compiled one outside, ``mode="max-autotune"``, and noise that is drawn inside.
    """

    keeps_gradients = False  # its first mean is the gradient of the first step

    def __init__(self, case: Case, weights: list[Any], x: Any, dtype: str) -> None:
        super().__init__(case, weights, x, dtype)
        self.cache = tempfile.TemporaryDirectory()
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = self.cache.name
        self.weights = {name: p.detach() for name, p in self.model.named_parameters()}
        self.moments = [
            {name: torch.zeros_like(p) for name, p in self.weights.items()} for _ in range(2)
        ]
        self.t = torch.zeros((), dtype=self.dtype)
        whole = torch.compile(_whole(self.model), dynamic=False, options={"cpp_wrapper": True})
        self.whole = torch.no_grad()(whole)

    def train(self, noise: Tensor) -> Tensor:
        return self.whole(self.weights, *self.moments, self.t, self.x, noise)

    def gradients(self) -> list[Any]:
        return [first.numpy().T / (1 - BETA1) for first in self.moments[0].values()]


def _whole(model: TorchVAE) -> Callable[..., Tensor]:
    """Forward, backward, and Adam in place."""
    both = grad_and_value(lambda weights, x, noise: functional_call(model, weights, (x, noise)))

    def step(
        weights: dict[str, Tensor],
        first: dict[str, Tensor],
        second: dict[str, Tensor],
        t: Tensor,
        x: Tensor,
        noise: Tensor,
    ) -> Tensor:
        gradients, loss = both(weights, x, noise)
        t += 1
        rate, scale = RATE / (1 - BETA1**t), 1 - BETA2**t
        for name, g in gradients.items():
            first[name].lerp_(g, 1 - BETA1)
            second[name].lerp_(g * g, 1 - BETA2)
            weights[name] -= rate * first[name] / ((second[name] / scale).sqrt() + EPSILON)
        return loss

    return step
