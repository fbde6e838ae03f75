"""The competitor: the same VAE in PyTorch, eager, as its users write it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


class TorchVAE(nn.Module):
    """D - hidden - K - hidden - D with ReLUs; one head of 2 K outputs for the posterior."""

    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = _mlp(pixels, hidden, 2 * latent)
        self.decoder = _mlp(latent, hidden, pixels)

    def terms(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and KL, each summed over the batch, in nats."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)  # (B, K)
        z = mean + torch.exp(0.5 * log_variance) * noise  # (B, K)
        cross_entropy = binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        return cross_entropy, kl


def _mlp(fan_in: int, hidden: int, fan_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(fan_in, hidden), nn.ReLU(), nn.Linear(hidden, fan_out))


def train_step(
    model: TorchVAE, optimiser: torch.optim.Optimizer, x: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """The loss forward, the gradients backward, the parameters along them."""
    cross_entropy, kl = model.terms(x, noise)
    loss = (cross_entropy + kl) / len(x)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()
