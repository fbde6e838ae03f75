"""What training, evaluating and a run must do, by loops written out here.

An oracle is called with a system and raises AssertionError where the system is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import pytest
from exact_models import Enumerated, Weights, complex_step, network, small_vae

import tinyvae as tv
from tinyvae.config import Config
from tinyvae.data import Dataset, Split
from tinyvae.evaluation.elbo import Elbo
from tinyvae.models import vae
from tinyvae.optim import Adam
from tinyvae.runs import Run

Step: TypeAlias = tuple[np.ndarray, np.ndarray]
"""The pixels (B, D) of one step, and its noise (B, K)."""
Fit: TypeAlias = Callable[..., Any]

IMAGES = np.random.default_rng(0).random((8, 1, 3)).astype("float32")
SETTINGS = {"epochs": 3, "batch": 3, "learning_rate": 0.01, "seed": 1}


@contextmanager
def recorded() -> Iterator[list[Step]]:
    """What every step, taped, trains on: the noise is found from the sample that it has made."""
    steps: list[Any] = []
    encode, decode = tv.VAE.encode, tv.VAE.decode

    def spy_encode(self: tv.VAE, x: tv.Tensor) -> tuple[tv.Tensor, tv.Tensor]:
        mean, log_variance = encode(self, x)
        if mean.requires_grad:
            steps.append((x.numpy(), mean.numpy(), np.exp(log_variance.numpy() / 2)))
        return mean, log_variance

    def spy_decode(self: tv.VAE, z: tv.Tensor) -> tv.Tensor:
        if z.requires_grad:
            x, mean, sigma = steps.pop()
            steps.append((x, (z.numpy() - mean) / sigma))
        return decode(self, z)

    taped = mock.patch.object(tv.Replay, "__call__", tv.Replay.tape)
    with taped, mock.patch.multiple(tv.VAE, encode=spy_encode, decode=spy_decode):
        yield steps


def trained(fit: Fit, **settings: Any) -> tuple[tv.VAE, list[Step], Any]:
    model = small_vae()
    with recorded() as steps:
        history = fit(model, IMAGES, **(SETTINGS | settings))
    return model, steps, history


# Training


def loss_by_hand(weights: Weights, x: np.ndarray, noise: np.ndarray) -> Any:
    """The negative ELBO, from the textbook, averaged over the images."""
    mean, log_variance = np.split(network(weights, "encoder", x), 2, axis=1)
    logits = network(weights, "decoder", mean + np.exp(log_variance / 2) * noise)
    cross_entropy = (np.log(1 + np.exp(logits)) - x * logits).sum(axis=1)
    kl = -(1 + log_variance - mean**2 - np.exp(log_variance)).sum(axis=1) / 2
    return (cross_entropy + kl).mean()


def adam_by_hand(weights: Weights, steps: list[Step], rate: float) -> Weights:
    """Kingma and Ba (2015), algorithm 1, one number t for all steps."""
    m, v = ({name: np.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    for t, step in enumerate(steps, 1):

        def loss(*values: np.ndarray, names: Any = tuple(weights), step: Step = step) -> Any:
            return loss_by_hand(dict(zip(names, values, strict=True)), *step)

        for name, g in zip(weights, complex_step(loss, *weights.values()), strict=True):
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            m_hat, v_hat = m[name] / (1 - 0.9**t), v[name] / (1 - 0.999**t)
            weights = weights | {name: weights[name] - rate * m_hat / (np.sqrt(v_hat) + 1e-8)}
    return weights


def every_step_is_adams_on_the_negative_elbo(fit: Fit) -> None:
    model, steps, _ = trained(fit)
    wanted = adam_by_hand(small_vae().state_dict(), steps, rate=0.01)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value, wanted[name], rtol=0, atol=1e-9, err_msg=name)


def every_image_is_used_once_an_epoch(fit: Fit) -> None:
    rows = np.concatenate([x for x, _ in trained(fit)[1]])
    assert len(rows) == 3 * 8
    for epoch in rows.reshape(3, 8, 3):
        assert sorted(map(tuple, epoch)) == sorted(map(tuple, IMAGES.reshape(8, 3)))


def the_noise_is_drawn_anew_for_every_code(fit: Fit) -> None:
    noise = np.concatenate([noise for _, noise in trained(fit, epochs=50)[1]])
    assert len(np.unique(noise.round(9))) == 50 * 8
    for power, wanted, variance in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):  # of the standard normal
        assert abs((noise**power).mean() - wanted) < 4 * math.sqrt(variance / 400)


def the_log_tells_nats_per_image(fit: Fit) -> None:
    """Of a model that hardly moves: the KL of its posteriors, and the loss as the sum."""
    encoder = network(small_vae().state_dict(), "encoder", IMAGES.reshape(8, 3))
    mean, log_variance = np.split(encoder, 2, axis=1)
    kl = (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(axis=1).mean() / 2
    for row in trained(lambda *a, **k: fit(*a, IMAGES[:4], **k), learning_rate=1e-12)[2]:
        assert row["train_kl"] == pytest.approx(kl, rel=1e-6)
        assert row["train_loss"] == pytest.approx(row["train_reconstruction"] + kl, rel=1e-6)
        assert row["train_reconstruction"] > 0.5


def training_goes_back_to_the_best_epoch_of_the_validation_images(fit: Fit) -> None:
    other = 1 - IMAGES[:4]  # what is learnt of the others makes these worse, after a while
    settings = {"epochs": 60, "patience": 6, "learning_rate": 0.05}
    model, _, history = trained(lambda *a, **k: fit(*a, other, **k), **settings)
    best = min(row["valid_loss"] for row in history)
    assert len(history) < 60
    assert tv.evaluate(model, other, seed=1).loss == pytest.approx(best, rel=1e-12)
    assert history[-1]["valid_loss"] > best


# Optimisers


def adam_as_published(make: Callable[..., Adam]) -> None:
    x, t, m, v = 1.0, 0, 0.0, 0.0
    parameter = tv.Tensor(np.array([x]), requires_grad=True)
    optimiser = make([parameter], 0.1)
    decay = optimiser.settings["decay"]
    for t in range(1, 16):
        g = math.sin(t) / 10 ** (t % 3)
        parameter.grad = np.array([g])
        optimiser.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        fraction = (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        x = x - 0.1 * fraction - 0.1 * decay * x
        assert parameter.item() == pytest.approx(x, rel=1e-12)


# Evaluation, as `elbo`

Measure: TypeAlias = Callable[[tv.VAE, np.ndarray], Elbo]


def the_measure_is_the_negative_elbo(elbo: Measure) -> None:
    """Of one image many times: its expectation, within four standard errors."""
    known, x, count = Enumerated.of(small_vae()), np.array([0.0, 1.0, 1.0]), 4000
    result = elbo(small_vae(), np.tile(x, (count, 1, 1)).astype("float32"))
    mean, variance = known.encoded(x)
    z = Enumerated(known.weights, mean + np.sqrt(variance) * known.z, known.share)
    losses = -np.log(z.likelihood(x))
    wanted, square = known.share @ losses, known.share @ losses**2
    error = math.sqrt((square - wanted**2) / count)
    assert abs(result.reconstruction - wanted) < 4 * error
    assert result.loss - result.reconstruction + wanted == pytest.approx(
        known.gap(x) - known.log_evidence(x), rel=1e-9
    )


def every_image_counts_alike(elbo: Measure) -> None:
    """In a last part that is smaller, too."""
    with mock.patch.object(vae, "ROWS", 3):
        parts = elbo(small_vae(), IMAGES[:7])
    each = [elbo(small_vae(), IMAGES[k : k + 1]).kl for k in range(7)]
    assert parts.kl == pytest.approx(np.mean(each), rel=1e-9)


# Runs: each part of the data has a grey of its own

PARTS = ("train", "valid", "test")
DATA = Dataset(
    "grey",
    **{part: Split(np.full((9, 1, 3), 80 * k + 40, np.uint8)) for k, part in enumerate(PARTS)},
)
CONFIG = Config(hidden=(3,), epochs=2, batch=3, seed=3)


@contextmanager
def seen() -> Iterator[set[str]]:
    """Which parts of the data go through a model."""
    parts: set[str] = set()
    encode = tv.VAE.encode

    def spy(self: tv.VAE, x: tv.Tensor) -> Any:
        if x.shape[1] == DATA.train.pixels:  # not what a configuration is tried out on
            parts.update(PARTS[int(grey * 255) // 80] for grey in x.numpy().flat)
        return encode(self, x)

    with mock.patch.object(tv.VAE, "encode", spy):
        yield parts


def nothing_is_learnt_or_chosen_from_the_test_images(train: Callable[..., Any]) -> None:
    with TemporaryDirectory() as folder, seen() as parts:
        train(Run(Path(folder) / "run"), CONFIG, DATA)
    assert parts == {"train", "valid"}


def a_run_is_judged_by_its_test_images_alone(judge: Callable[..., Any]) -> None:
    with TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        run.train(CONFIG, DATA)
        with seen() as parts:
            judge(run, run.model(), DATA)
    assert parts == {"test"}
