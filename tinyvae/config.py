"""What `tinyvae train` is asked for: checked, saved beside the weights, and read back."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tinyvae.autograd import Tensor, no_grad
from tinyvae.backend import best, get, use
from tinyvae.data import Dataset, load
from tinyvae.data.dataset import Binarise, Split
from tinyvae.distributions.divergences import is_analytic
from tinyvae.distributions.likelihoods import LIKELIHOODS
from tinyvae.distributions.posteriors import POSTERIORS, drawn
from tinyvae.distributions.priors import PRIORS, Fitted
from tinyvae.errors import OptionError
from tinyvae.models import MODELS, model_class, new_model
from tinyvae.models.vae import VAE
from tinyvae.noise import Noise
from tinyvae.objectives import OBJECTIVES
from tinyvae.training import Settings

YOUNGER = (  # of which older runs had no choice
    "kernels", "precision", "model", "likelihood", "posterior", "prior", "activation", "schedule",
    "objective", "samples", "normalised_beta", "warm_up", "free_bits",
)  # fmt: skip
CLOSED = ("elbo", "elbo-analytic")  # objectives that take the KL in closed form
BOUNDS = ("iwae", "iwae-stl", "dreg", "vimco")  # those of the logarithm of a mean of weights
BYTES = 64  # a parameter in training: value, gradient, Adam's two, the best, and their copies


@dataclass(frozen=True)
class Config:
    """What `tinyvae train` is asked for; with the seed it determines the run.

    Attributes
    ----------
    data : str
        A name of `tinyvae data`, or a path.
    binarise : {"none", "static", "dynamic"}
    model, likelihood, posterior, prior : str
        Names of `tinyvae models`.
    latent : int
    hidden : tuple of int
    activation : str
    epochs, batch : int
    learning_rate : float
    schedule : {"constant", "threefold"}
    objective : str
        A name of `tinyvae models`.
    samples : int
        Codes that are drawn for an image in each step.
    beta : float
        The weight of the KL.
    normalised_beta : float
        The same divided by the pixels and multiplied by the latent dimensions
        (Higgins et al., 2017), in its place; 0 if it is not given.
    warm_up : int
        As for `tinyvae.fit`.
    free_bits : float
        As for `tinyvae.fit`.
    seed : int
    backend : {"numpy", "cupy", "auto"}
    kernels : {"numpy", "numba"}
    precision : {"float32", "tf32", "bfloat16"}
        See `tinyvae.backend.use`.

    Raises
    ------
    OptionError
        A value outside its range.

    Examples
    --------
    >>> Config(latent=0)
    Traceback (most recent call last):
    ...
    tinyvae.errors.OptionError: latent and hidden are sizes from 1 up, not 0 and (256, 128)
    """

    data: str = "digits"
    binarise: Binarise = "none"
    model: str = "vae"
    likelihood: str = "bernoulli"
    posterior: str = "gaussian"
    prior: str = "normal"
    latent: int = 2
    hidden: tuple[int, ...] = (256, 128)
    activation: str = "relu"
    epochs: int = 300
    batch: int = 64
    learning_rate: float = 1e-3
    schedule: str = "constant"
    objective: str = "elbo"
    samples: int = 1
    beta: float = 1.0
    normalised_beta: float = 0.0
    warm_up: int = 0
    free_bits: float = 0.0
    seed: int = 0
    backend: str = "numpy"
    kernels: str = "numpy"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not all(1 <= n <= 10**15 for n in (self.latent, *self.hidden)):
            raise OptionError(
                f"latent and hidden are sizes from 1 up, not {self.latent} and {self.hidden}"
            )
        if not 0 < self.learning_rate < math.inf:
            raise OptionError(f"a learning rate is a number above 0, not {self.learning_rate}")
        if not 0 <= self.normalised_beta < math.inf:
            raise OptionError(f"normalised_beta is a number from 0 up, not {self.normalised_beta}")
        if self.normalised_beta and self.beta != 1:
            raise OptionError(
                f"beta = {self.beta} and normalised_beta = {self.normalised_beta} are two weights "
                "for one KL: give one of them"
            )
        if self.normalised_beta and self.objective in BOUNDS:
            raise OptionError(
                f"objective={self.objective!r} is a logarithm of a mean of weights, in which there "
                "is no KL to weigh: leave normalised_beta out, or use objective='elbo'"
            )
        self._try_out()

    def _try_out(self) -> None:
        """Measure the loss of the smallest such model, which refuses what does not go together."""
        settings, images = self.settings((1, 1)), np.zeros((4, 1, 1), np.float32)
        with use("numpy"), no_grad(), np.errstate(all="ignore"):
            model = self._new((1, 1), min(2, self.latent), (2,))
            model.begin(Split(images))
            shape = (4, self.samples) if self.samples > 1 else (4,)
            noise = drawn(model.posterior, Noise(0), shape, model.dtype)
            x = Tensor.wrap(images.reshape(4, 1))
            beta = settings.beta / max(1, self.warm_up)
            OBJECTIVES[self.objective](model, x, noise, beta, self.free_bits)

    def settings(self, image_shape: tuple[int, ...]) -> Settings:
        """What of it says how to train, on images of that shape."""
        own = {field.name for field in fields(self)}
        names = [field.name for field in fields(Settings) if field.name in own]
        values = {name: getattr(self, name) for name in names}
        return Settings(**values | {"beta": self.effective_beta(image_shape)})

    def effective_beta(self, image_shape: tuple[int, ...]) -> float:
        """The weight of the KL in the loss, whichever way it was given.

        >>> Config(normalised_beta=0.01, latent=4).effective_beta((20, 20))
        1.0
        """
        if not self.normalised_beta:
            return self.beta
        return self.normalised_beta * math.prod(image_shape) / self.latent

    def with_enough_epochs(self, images: int) -> Config:
        """The same with the epochs that make about 6,000 steps, from 10 to 300.

        >>> Config().with_enough_epochs(54_000).epochs
        10
        """
        steps = math.ceil(images / self.batch)
        return replace(self, epochs=min(300, max(10, round(6000 / steps))))

    def describe(self, image_shape: tuple[int, ...], images: int) -> list[str]:
        """What is trained, in words.

        >>> for line in Config(beta=4.0).describe((2, 2), 10):
        ...     print(line)
        A vae with 2 latent dimensions on the 10 training images of digits
        bernoulli likelihood, gaussian posterior, normal prior; KL in closed form
        loss -log p(x | z) + 4 KL
        objective elbo, effective beta 4 (beta K / D = 2)
        """
        model, beta = self._new((1, 1), min(2, self.latent), (2,)), self.effective_beta(image_shape)
        analytic = is_analytic(model.posterior, model.prior) and self.objective in CLOSED
        kl = "KL in closed form" if analytic else f"KL by Monte Carlo, {_counted(self.samples)}"
        if isinstance(model.prior, Fitted):
            kl += "; the prior is the standard normal in training, and fitted to the codes after it"
        normalised = beta * self.latent / math.prod(image_shape)
        rising = f", reached in {_counted(self.warm_up, 'epoch')}" if self.warm_up else ""
        return [
            f"A {self.model} with {_counted(self.latent, 'latent dimension')} on the {images:,} "
            f"training images of {self.data}",
            f"{self.likelihood} likelihood, {self.posterior} posterior, {self.prior} prior; {kl}",
            f"loss {self._loss(model, beta)}",
            f"objective {self.objective}, effective beta {beta:g} (beta K / D = {normalised:.3g})"
            + rising,
        ]

    def _loss(self, model: VAE, beta: float) -> str:
        if self.objective in BOUNDS:
            return f"-log of the mean of p(x, z) / q(z | x) over {_counted(self.samples)}"
        free = f", no dimension's KL below {self.free_bits:g} nats" if self.free_bits else ""
        plain = " (with beta 1 the plain VAE: give --beta)" if self._is_plain_by_its_beta else ""
        return model.describe(beta) + free + plain

    @property
    def _is_plain_by_its_beta(self) -> bool:
        """Whether a model was asked for that differs by its beta alone, and none was given."""
        named = self.model in ("beta-vae", "beta-tcvae", "factor-vae")
        return named and self.beta == 1 and not self.normalised_beta

    def settled(self) -> Config:
        """The same with the backend that ``"auto"`` stands for here."""
        return replace(self, backend=best()[0].name) if self.backend == "auto" else self

    def dataset(self) -> Dataset:
        """The data, with a validation part, binarised if that is static."""
        dataset = load(self.data).hold_out()
        return dataset.binarised(self.seed) if self.binarise == "static" else dataset

    def new_model(self, image_shape: tuple[int, ...]) -> VAE:
        """A new model of these sizes, on the backend in use.

        Raises
        ------
        OptionError
            To train it would take more memory than the machine, or its GPU, has.
        """
        count = self.parameters(image_shape)
        memories = {"this machine has": _memory(), "its GPU has free": get().free_memory()}
        for whose, there in memories.items():
            if count * BYTES > there:
                raise OptionError(
                    f"a model with latent = {self.latent} and hidden = {self.hidden} has "
                    f"{count:,} parameters; to train it takes about {count * BYTES / 2**30:,.0f} "
                    f"GB, and {whose} {there / 2**30:,.0f} GB: choose smaller sizes"
                )
        return self._new(image_shape, self.latent, self.hidden)

    def _new(self, image_shape: tuple[int, ...], latent: int, hidden: tuple[int, ...]) -> VAE:
        return new_model(
            self.model,
            image_shape,
            latent,
            hidden,
            self.activation,
            self.seed,
            self.likelihood,
            self.posterior,
            self.prior,
        )

    def parameters(self, image_shape: tuple[int, ...]) -> int:
        """How many numbers the plain VAE has to learn; other models have no fewer.

        >>> Config(latent=1, hidden=(3,)).parameters((2, 2))  # 4 -> 3 -> 2, and 1 -> 3 -> 4
        45
        """
        pixels = math.prod(image_shape)
        encoder = (pixels, *self.hidden, 2 * self.latent)
        decoder = (self.latent, *reversed(self.hidden), pixels)
        return sum((a + 1) * b for widths in (encoder, decoder) for a, b in pairwise(widths))


def choices() -> dict[str, list[tuple[str, str]]]:
    """For each option that names a part of a model, the names, with a line that says what it is."""
    tables: dict[str, dict[str, Any]] = {
        "model": {name: model_class(name) for name in MODELS},
        "likelihood": dict(LIKELIHOODS),
        "posterior": dict(POSTERIORS),
        "prior": dict(PRIORS),
        "objective": dict(OBJECTIVES),
    }
    return {
        option: [(name, _first_line(found)) for name, found in table.items()]
        for option, table in tables.items()
    }


def _first_line(documented: Any) -> str:
    return (documented.__doc__ or "").partition("\n")[0].replace("`", "")


def _counted(count: int, what: str = "sample") -> str:
    return f"{count} {what}{'s' * (count > 1)}"


def _memory() -> float:
    """The machine's memory in bytes, where the system tells it."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def parse(content: dict[str, Any]) -> Config:
    """The configuration from plain data, as JSON gives them back; OptionError names what is wrong.

    >>> from dataclasses import asdict
    >>> parse(asdict(Config()) | {"hidden": [256, 128]}) == Config()
    True
    """
    values: dict[str, Any] = {"hidden": tuple(_sizes(content, "hidden"))}
    for field in fields(Config):
        default = field.default if field.name in YOUNGER else None
        value = content.get(field.name, default)
        if field.name != "hidden" and type(value) is not type(field.default):
            raise OptionError(f"{field.name} is {value!r}, not of type {field.type}")
        values.setdefault(field.name, value)
    return Config(**values)


def parse_image_shape(content: dict[str, Any]) -> tuple[int, ...]:
    """The shape of the images, which stands beside it."""
    shape = tuple(_sizes(content, "image_shape"))
    if len(shape) not in (2, 3):
        raise OptionError(f"image_shape is {shape}, not (H, W) or (H, W, 3)")
    return shape


def _sizes(content: dict[str, Any], name: str) -> list[int]:
    value = content.get(name)
    if not isinstance(value, list) or not all(type(n) is int and n > 0 for n in value):
        raise OptionError(f"{name} is {value!r}, not a list of sizes from 1 up")
    return value
