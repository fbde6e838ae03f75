"""The runs of `papers.py` by PyTorch: the same models, images, schedules and judgement."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from papers_rows import Run
from papers_run import Clock, Images, logit_of_mean
from torch import Tensor, nn
from torch_vae import TorchVAE, train_step

from tinyvae.data.dataset import Split
from tinyvae.optim import threefold

ROWS = 4000  # codes that go through the decoder at once where no gradient is wanted


class PaperVAE(TorchVAE):
    """Glorot's first weights, ReLU or tanh, and one of `PRIORS`."""

    def __init__(self, run: Run, train: Split) -> None:
        hidden, latent = run.model["hidden"], run.model["latent"]
        super().__init__(train.pixels, hidden, latent)
        for network in (self.encoder, self.decoder):
            for k, layer in enumerate(network):
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.zeros_(layer.bias)
                elif run.model.get("activation") == "tanh":
                    network[k] = nn.Tanh()
        self.objective, self.samples = run.fit.get("objective", "elbo"), run.fit.get("samples", 1)
        self.prior = PRIORS[run.model.get("prior", "normal").partition(":")[0]](run, train)
        if run.row.mean_image:
            self.decoder[-1].bias.data = torch.from_numpy(logit_of_mean(train)).float()

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """Of samples (B, S), from noise (B, S, K)."""
        mean, log_variance = self.encoder(x)[:, None].chunk(2, dim=2)  # (B, 1, K)
        z = mean + torch.exp(0.5 * log_variance) * noise
        logits = self.decoder(z.flatten(0, 1)).unflatten(0, noise.shape[:2])
        cost = nn.functional.binary_cross_entropy_with_logits(
            logits, x[:, None].expand_as(logits), reduction="none"
        )
        log_prior = self.prior(z, self.encoder)
        return log_prior - cost.sum(2) - _log_normal(z, mean, log_variance)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """The loss, from noise (B, S, K)."""
        if self.objective == "iwae":
            return self.iwae(x, noise)
        if isinstance(self.prior, Normal):
            return sum(self.terms(x, noise[:, 0])) / len(x)
        return -self.log_weights(x, noise).mean()


class Normal(nn.Module):
    """log p(z) of codes (..., K): the standard normal."""

    def __init__(self, _run: Run, _train: Split) -> None:
        super().__init__()

    def forward(self, z: Tensor, _encoder: nn.Module) -> Tensor:
        return _log_normal(z, torch.zeros(()), torch.zeros(()))


class Mixture(nn.Module):
    """A mixture of Gaussians, begun as tinyvae's."""

    def __init__(self, run: Run, _train: Split) -> None:
        super().__init__()
        shape = (_components(run), run.model["latent"])
        self.logits = nn.Parameter(torch.zeros(shape[0]))
        self.mean = nn.Parameter(torch.randn(shape) / 2)
        self.log_variance = nn.Parameter(torch.full(shape, math.log(0.75)))

    def forward(self, z: Tensor, _encoder: nn.Module) -> Tensor:
        return _log_mixture(z, self.logits, self.mean, self.log_variance)


class Vamp(nn.Module):
    """A VampPrior, begun at images as tinyvae's."""

    def __init__(self, run: Run, train: Split) -> None:
        super().__init__()
        rows = torch.randint(len(train), (_components(run),)).numpy()
        pixels = torch.from_numpy(0.05 + 0.9 * train.batch(rows))
        self.pseudo_inputs = nn.Parameter(torch.logit(pixels))

    def forward(self, z: Tensor, encoder: nn.Module) -> Tensor:
        parts = encoder(torch.sigmoid(self.pseudo_inputs)).chunk(2, dim=1)  # (M, K) each
        return _log_mixture(z, torch.zeros(len(parts[0])), *parts)


PRIORS = {"normal": Normal, "mixture": Mixture, "vamp": Vamp}


def _components(run: Run) -> int:
    return int(run.model["prior"].partition(":")[2])


def _log_mixture(z: Tensor, logits: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Over the components (M, K), by products of matrices."""
    precision = torch.exp(-log_variance)
    squares = (z * z) @ precision.T - 2 * z @ (mean * precision).T
    rest = (mean * mean * precision + log_variance + math.log(2 * math.pi)).sum(1)
    return torch.logsumexp(torch.log_softmax(logits, 0) - (squares + rest) / 2, -1)


def _log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Summed over the last axis."""
    squares = (z - mean) ** 2 * torch.exp(-log_variance)
    return -0.5 * (math.log(2 * math.pi) + log_variance + squares).sum(-1)


# A run


def play_torch(run: Run, images: Images, checkpoint: Path, clock: Clock) -> dict[str, Any]:
    """Train and judge, from where an earlier call was interrupted."""
    torch.manual_seed(run.seed)
    model = PaperVAE(run, images.train)
    optimiser = torch.optim.Adam(model.parameters(), run.fit["learning_rate"])
    done = _load(checkpoint, model, optimiser)
    x = torch.from_numpy(images.train.batch(slice(None)))
    for epoch in range(done + 1, run.fit["epochs"] + 1):
        _set_rate(optimiser, run.fit, epoch)
        loss = train_epoch(model, optimiser, x, run.fit)
        _save(checkpoint, model, optimiser, epoch)
        clock.keep()
        print(f"{run.stem}: epoch {epoch}, {loss:.2f} nats", flush=True)
    with torch.no_grad():
        return judged(model, torch.from_numpy(images.test.batch(slice(None))), run.row.samples)


def train_epoch(
    model: PaperVAE, optimiser: torch.optim.Optimizer, x: Tensor, fit: dict[str, Any]
) -> float:
    """The mean loss of an epoch."""
    losses = []
    for rows in torch.randperm(len(x)).split(fit["batch"]):
        batch = torch.bernoulli(x[rows]) if fit.get("binarise") == "dynamic" else x[rows]
        losses.append(train_step(model, optimiser, batch, noise_for(model, batch, model.samples)))
    return float(torch.stack(losses).mean())


def noise_for(model: PaperVAE, x: Tensor, samples: int) -> Tensor:
    """(B, S, K)."""
    return torch.randn(len(x), samples, model.decoder[0].in_features)


def _set_rate(optimiser: torch.optim.Optimizer, fit: dict[str, Any], epoch: int) -> None:
    if fit.get("schedule") == "threefold":
        optimiser.param_groups[0]["lr"] = threefold(fit["learning_rate"])(epoch)


def judged(model: PaperVAE, test: Tensor, samples: int) -> dict[str, Any]:
    """The negative ELBO and -log p(x) of the test images, in nats per image."""
    kept = max(1, ROWS // max(1, samples))
    elbo = [-model.log_weights(x, noise_for(model, x, 1)).sum() for x in test.split(ROWS)]
    found = {"elbo": float(sum(elbo)) / len(test)}
    if not samples:
        terms = [model.terms(x, noise_for(model, x, 1)[:, 0]) for x in test.split(ROWS)]
        loss = float(sum(sum(parts) for parts in terms)) / len(test)
        return {"elbo": loss, "figure": loss, "standard_error": 0.0, "per_image": np.empty(0)}
    log_p = torch.cat([log_mean(model, x, samples) for x in test.split(kept)]).numpy()
    return found | {"figure": -float(log_p.mean()), "standard_error": 0.0, "per_image": log_p}


def log_mean(model: PaperVAE, x: Tensor, samples: int) -> Tensor:
    """The logarithm of the mean weight, (B,)."""
    weights = model.log_weights(x, noise_for(model, x, samples))
    return torch.logsumexp(weights.double(), 1) - math.log(samples)


# What is kept


def _save(file: Path, model: nn.Module, optimiser: torch.optim.Optimizer, epoch: int) -> None:
    states = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
    states |= {"epoch": epoch, "random": torch.get_rng_state()}
    part = file.with_suffix(".part")
    torch.save(states, part)
    part.replace(file)


def _load(file: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """How many epochs are done."""
    if not file.exists():
        return 0
    states = torch.load(file)
    model.load_state_dict(states["model"])
    optimiser.load_state_dict(states["optimiser"])
    torch.set_rng_state(states["random"])
    return int(states["epoch"])
