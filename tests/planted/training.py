"""Wrong training, optimisers, evaluation and runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

import tinyvae as tv
from planted.system import PlantedSystem, where
from planted.training_oracles import (
    a_run_is_judged_by_its_test_images_alone,
    adam_as_published,
    every_image_counts_alike,
    every_image_is_used_once_an_epoch,
    every_step_is_adams_on_the_negative_elbo,
    nothing_is_learnt_or_chosen_from_the_test_images,
    the_log_tells_nats_per_image,
    the_measure_is_the_negative_elbo,
    the_noise_is_drawn_anew_for_every_code,
    training_goes_back_to_the_best_epoch_of_the_validation_images,
)
from tinyvae import trainer as loop
from tinyvae import training
from tinyvae.data import Dataset, batches
from tinyvae.evaluation import elbo
from tinyvae.evaluation.elbo import Elbo
from tinyvae.models import vae
from tinyvae.noise import Noise
from tinyvae.objectives import infer, negative_elbo
from tinyvae.optim import Adam, AdamW, Optimiser
from tinyvae.runs import Run
from tinyvae.state import RunState
from tinyvae.training import Trainer, fit


def stepping(before: Callable[[Trainer], object]) -> Callable[..., Any]:
    """`fit` with something done before every step."""
    step = Trainer.train_step

    def misled(self: Trainer, x: tv.Tensor, noise: Any) -> Any:
        before(self)
        return step(self, x, noise)

    return where(Trainer, "train_step", misled, fit)


def with_loss(terms: Callable[..., Any]) -> Callable[..., Any]:
    """`fit` on other terms than those of the negative ELBO."""
    wrong = {"elbo": lambda *inputs: terms(negative_elbo(*inputs))}
    return where(loop, "OBJECTIVES", wrong, fit)


def count_epochs(trainer: Trainer) -> None:
    trainer.state.optimiser.steps = trainer.state.epoch - 1


def forget(trainer: Trainer) -> None:
    if trainer.state.step == 0:
        trainer.state.optimiser.steps = 0
        for vector in trainer.state.optimiser.state.values():
            vector[...] = 0


class WithoutRemainder(Trainer):
    """Leaves out the last batch where it is smaller."""

    def _batches(self) -> Any:
        yield from islice(super()._batches(), len(self.train) // self.settings.batch)


def mean_of_means(cross_entropy: Any, kl: Any, sums: Any, turn: Any) -> None:
    """The 8 images in batches of 3, 3 and 2 as if each batch had a third of them."""
    sums += [float(part.mean()) * 8 / 3 for part in (cross_entropy, kl)]


def best_of_training(self: RunState, row: Any, end: Any = RunState.end_epoch) -> None:
    end(self, row | {"valid_loss": row["train_loss"]})
    self.history[-1] = row


FITS: list[tuple[str, str, Callable[..., Any], Any]] = [
    (
        "Adam's bias correction with the epoch for t",
        "well-known code",
        stepping(count_epochs),
        every_step_is_adams_on_the_negative_elbo,
    ),
    (
        "a new optimiser every epoch",
        "an optimiser made inside the loop",
        stepping(forget),
        every_step_is_adams_on_the_negative_elbo,
    ),
    (
        "gradients that are never cleared",
        "zero_grad forgotten",
        where(Optimiser, "zero_grad", lambda self: None, fit),
        every_step_is_adams_on_the_negative_elbo,
    ),
    (
        "training on the cross-entropy alone",
        "a KL that is only logged",
        with_loss(lambda terms: terms._replace(loss=terms.reconstruction.mean())),
        every_step_is_adams_on_the_negative_elbo,
    ),
    (
        "training to make the ELBO small",
        "the sign of the loss",
        with_loss(lambda terms: terms._replace(loss=-terms.loss)),
        every_step_is_adams_on_the_negative_elbo,
    ),
    (
        "the last batch left out where it is smaller",
        "drop_last",
        where(training, "Trainer", WithoutRemainder, fit),
        every_image_is_used_once_an_epoch,
    ),
    (
        "images drawn with replacement",
        "choice for permutation",
        where(Noise, "permutation", lambda self, n: self.integers(n, (n,)), fit),
        every_image_is_used_once_an_epoch,
    ),
    (
        "the same noise in every epoch",
        "a seed set inside the loop",
        where(batches, "Noise", lambda seed, name, *_, **on: Noise(seed, name, **on), fit),
        the_noise_is_drawn_anew_for_every_code,
    ),
    (
        "uniform noise",
        "rand for randn",
        where(Noise, "normal", Noise.uniform, fit),
        the_noise_is_drawn_anew_for_every_code,
    ),
    (
        "the KL logged with its sign flipped",
        "well-known code",
        with_loss(lambda terms: terms._replace(kl=-terms.kl)),
        the_log_tells_nats_per_image,
    ),
    (
        "the average of the batches' averages",
        "a last batch that is smaller",
        where(loop, "tally", mean_of_means, fit),
        the_log_tells_nats_per_image,
    ),
    (
        "the last epoch kept for the best",
        "a best state that is no copy",
        where(RunState, "take_best", lambda self: None, fit),
        training_goes_back_to_the_best_epoch_of_the_validation_images,
    ),
    (
        "the best epoch picked by the training loss",
        "well-known code",
        where(RunState, "end_epoch", best_of_training, fit),
        training_goes_back_to_the_best_epoch_of_the_validation_images,
    ),
]


# Adam


def adam_with(
    kind: type[Adam] = Adam,
    count: Callable[[int], float] = lambda t: t,
    betas: tuple[str, str] = ("beta1", "beta2"),
    square: Callable[[Any], Any] = np.square,
    root: Callable[[Any, float], Any] = lambda v, epsilon: np.sqrt(v) + epsilon,
    coupled: bool = False,
) -> type[Adam]:
    """The optimiser written out anew, right but for what is given."""

    def move(self: Adam, _: Any) -> None:
        p, g, m, v = self.flat.values, self.flat.gather(), *self.state.values()
        t, decay = count(self.steps), self.settings["decay"]
        b1, b2 = (self.settings[name] for name in betas)
        g = g + decay * p if coupled else g
        m[:], v[:] = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * square(g)
        step = (m / (1 - b1**t)) / root(v / (1 - b2**t), self.epsilon)
        p -= self.learning_rate * (step + (0 if coupled else decay * p))
        self.flat.announce()

    return type(kind.__name__, (kind,), {"move": move})


ADAMS: list[tuple[str, str, type[Adam]]] = [
    (
        "bias correction with the epoch for t",
        "well-known code",
        adam_with(count=lambda t: 1 + t // 5),
    ),
    ("no bias correction", "well-known code", adam_with(count=lambda t: np.inf)),
    (
        "bias correction that is one step late",
        "t counted from 1 twice",
        adam_with(count=lambda t: t + 1),
    ),
    ("the two betas swapped", "the order of arguments", adam_with(betas=("beta2", "beta1"))),
    ("the gradient's size for its square", "well-known code", adam_with(square=np.abs)),
    (
        "epsilon inside the root",
        "another paper's formula",
        adam_with(root=lambda v, epsilon: np.sqrt(v + epsilon)),
    ),
    ("no root", "variance where sigma belongs", adam_with(root=lambda v, epsilon: v + epsilon)),
]

# Evaluation and runs


def average_of_parts(model: tv.VAE, images: np.ndarray) -> Elbo:
    """The average of `elbo` of parts, of which the last may be smaller."""
    parts = [elbo.elbo(model, images[k : k + vae.ROWS]) for k in range(0, len(images), vae.ROWS)]
    terms = ([getattr(part, name) for part in parts] for name in ("reconstruction", "kl"))
    return Elbo(*(float(np.mean(values)) for values in terms), [], 0)


def with_noise(scale: float) -> Callable[..., Elbo]:
    """`elbo` with the noise multiplied."""
    wrong = lambda model, x, noise: infer(model, x, noise * scale)  # noqa: E731
    return where(elbo, "infer", wrong, elbo.elbo)


MEASURES: list[tuple[str, str, Callable[..., Any], Any]] = [
    (
        "the cross-entropy at the posterior's mean",
        "reconstructions scored without noise",
        with_noise(0.0),
        the_measure_is_the_negative_elbo,
    ),
    (
        "codes with half their sigma",
        "variance where sigma belongs",
        with_noise(0.5),
        the_measure_is_the_negative_elbo,
    ),
    (
        "the average of the parts' averages",
        "a last batch that is smaller",
        average_of_parts,
        every_image_counts_alike,
    ),
]


def given(method: Callable[..., Any], **parts: str) -> Callable[..., Any]:
    """A run's method on a data set with one part in the place of another."""

    def misled(run: Run, about: Any, dataset: Dataset) -> Any:
        return method(
            run, about, replace(dataset, **{k: getattr(dataset, v) for k, v in parts.items()})
        )

    return misled


TRAININGS: list[tuple[str, str, Callable[..., Any]]] = [
    ("the best epoch picked on the test set", "well-known code", given(Run.train, valid="test")),
    ("training on the test set", "parts swapped", given(Run.train, train="test")),
    ("the epochs watched on the training set", "well-known code", given(Run.train, valid="train")),
]
JUDGEMENTS: list[tuple[str, str, Callable[..., Any]]] = [
    ("evaluation on the training set", "well-known code", given(Run.evaluate, test="train")),
    ("evaluation on the validation set", "the set that chose", given(Run.evaluate, test="valid")),
]
TRAINING: list[PlantedSystem] = [
    *(PlantedSystem(name, source, made, fit, oracle) for name, source, made, oracle in FITS),
    *(PlantedSystem(name, source, made, Adam, adam_as_published) for name, source, made in ADAMS),
    PlantedSystem(
        "weight decay through the averages",
        "L2 for AdamW",
        adam_with(AdamW, coupled=True),
        AdamW,
        adam_as_published,
    ),
    *(
        PlantedSystem(name, source, made, elbo.elbo, oracle)
        for name, source, made, oracle in MEASURES
    ),
    *(
        PlantedSystem(
            name, source, made, Run.train, nothing_is_learnt_or_chosen_from_the_test_images
        )
        for name, source, made in TRAININGS
    ),
    *(
        PlantedSystem(name, source, made, Run.evaluate, a_run_is_judged_by_its_test_images_alone)
        for name, source, made in JUDGEMENTS
    ),
]
