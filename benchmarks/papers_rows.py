"""What `papers.py` trains: the works, their numbers, and the settings that should give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True)
class Schedule:
    """How long to train, with which seeds, and PyTorch beside it with which.

    Judged is by every so many-th image of the test part.
    """

    epochs: int
    seeds: tuple[int, ...] = (0,)
    torch_seeds: tuple[int, ...] = ()
    every: int = 1


@dataclass(frozen=True)
class Line:
    """One published number, and what differs for it from the other lines of its row."""

    what: str
    published: str
    model: Options = field(default_factory=dict)
    fit: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A work: its lines, and what they have in common.

    Attributes
    ----------
    work, source : str
        What is reproduced, and where its numbers were read.
    data : str
        A name of `papers_run.DATA`.
    model, fit : dict
        The parameters of `tinyvae.VAE`, and of `tinyvae.fit`.
    samples, images : int
        Of the importance sampling; with no samples the negative ELBO is the figure.
    lines : dict of Line
    full, short : Schedule
        The published one, and one that two cores manage; ``short`` is None where they manage
        the published one.
    mean_image : bool
        Whether the decoder begins at the mean image: its last bias is the logit of it.
    better : tuple of pairs of str
        Lines of which the first should be below the second, compared image by image.
    differs : str
        In what the run is not the published one.
    """

    work: str
    source: str
    data: str
    model: Options
    fit: Options
    samples: int
    lines: dict[str, Line]
    full: Schedule
    short: Schedule | None = None
    mean_image: bool = False
    better: tuple[tuple[str, str], ...] = ()
    differs: str = ""

    def schedule(self, full: bool) -> Schedule:
        return self.full if full or self.short is None else self.short

    def runs(self, full: bool, by: str = "tinyvae") -> Iterator[Run]:
        """Every model of the row, seed by seed, by tinyvae or by PyTorch."""
        about = self.schedule(full)
        seeds = about.seeds if by == "tinyvae" else about.torch_seeds
        length = "full" if about is self.full else "short"
        for seed, (name, line) in product(seeds, self.lines.items()):
            fit = self.fit | line.fit | {"epochs": about.epochs}
            yield Run(self, name, self.model | line.model, fit, length, seed, about.every, by)


@dataclass(frozen=True)
class Run:
    """One model to train: a row's line, with a schedule and a seed."""

    row: Row
    line: str
    model: Options
    fit: Options
    length: str
    seed: int
    every: int = 1
    by: str = "tinyvae"

    @property
    def stem(self) -> str:
        """What its files are called."""
        name = next(name for name, row in ROWS.items() if row is self.row)
        return f"{name}-{self.line}-{self.length}-{self.seed}-{self.by}"


BURDA = {"latent": 50, "hidden": (200, 200), "activation": "tanh"}
STATIC = {"latent": 40, "hidden": (400,)}
STAIRS = {"batch": 100, "learning_rate": 1e-3, "schedule": "threefold"}
LANDED = {"batch": 100, "learning_rate": 1e-3, "binarise": "dynamic"}
LANDING = "github.com/XavierXiao/Stick-the-Landing-with-IWAE, after Roeder et al. (2017)"
LANDED_OTHERWISE = (
    "Adam 1e-3, where the source has AdaDelta; how it binarises and with how many samples it "
    "judges is not told there; here judged on every fifth test image"
)

ROWS = {
    "ten": Row(
        "784-400-20, ten epochs, grey MNIST: −ELBO",
        "no paper: PyTorch's example, measured",
        data="mnist",
        model={"latent": 20, "hidden": (400,)},
        fit={"batch": 128, "learning_rate": 1e-3},
        samples=0,
        lines={"vae": Line("VAE", "105.79, 105.25")},
        full=Schedule(10, (0, 1, 2), (0, 1, 2)),
    ),
    "static": Row(
        "784-400-40, static MNIST: −log p",
        "second hand; another source has 89.9",
        data="binarized_mnist",
        model=STATIC,
        fit=STAIRS,
        samples=200,
        lines={"vae": Line("VAE", "89.78")},
        full=Schedule(500),
        differs="Adam 1e-3 falling in stairs, where the source says 1e-4, stepped",
    ),
    "priors": Row(
        "784-400-40 with other priors, static MNIST: −log p",
        "VampPrior: a reproduction of Tomczak and Welling (2018), who have 85.57; second hand",
        data="binarized_mnist",
        model=STATIC,
        fit=STAIRS,
        samples=200,
        lines={
            "vamp": Line("VampPrior, K = 500", "85.79", {"prior": "vamp:500"}),
            "mixture": Line("Gaussian mixture, M = 500", "none", {"prior": "mixture:500"}),
            "normal": Line("standard normal", "89.78"),
        },
        full=Schedule(500, (0, 1, 2)),
        short=Schedule(13, (0, 1, 2), (0,), every=5),
        better=(("vamp", "normal"), ("mixture", "normal"), ("vamp", "mixture")),
        differs="200 samples, not 5,000; a pseudo-input is a sigmoid, begun at an image",
    ),
    "stl": Row(
        "Sticking the landing, 784-200-200-50: −log p",
        LANDING,
        data="mnist_50000",
        model=BURDA,
        fit=LANDED,
        samples=1000,
        lines={
            "stl": Line("VAE, path alone", "92.02", fit={"objective": "stl"}),
            "vae": Line("VAE, all of the gradient", "92.67", fit={"objective": "elbo-mc"}),
        },
        full=Schedule(50),
        mean_image=True,
        better=(("stl", "vae"),),
        differs=LANDED_OTHERWISE,
    ),
    "stl5": Row(
        "Sticking the landing, 784-200-200-50, k = 5: −log p",
        LANDING,
        data="mnist_50000",
        model=BURDA,
        fit=LANDED | {"samples": 5},
        samples=1000,
        lines={
            "stl": Line("IWAE, path alone", "89.98", fit={"objective": "iwae-stl"}),
            "iwae": Line("IWAE, all of the gradient", "90.40", fit={"objective": "iwae"}),
        },
        full=Schedule(50),
        short=Schedule(20),
        mean_image=True,
        better=(("stl", "iwae"),),
        differs=LANDED_OTHERWISE,
    ),
    "iwae": Row(
        "784-200-200-50, dynamic MNIST: −log p",
        "Burda et al. (2015), one layer, with 5,000 samples; second hand",
        data="mnist_50000",
        model=BURDA,
        fit=STAIRS | {"binarise": "dynamic"},
        samples=1000,
        lines={
            "50": Line("IWAE, k = 50", "84.78", fit={"objective": "iwae", "samples": 50}),
            "5": Line("IWAE, k = 5", "85.54", fit={"objective": "iwae", "samples": 5}),
            "1": Line("VAE", "86.76"),
        },
        full=Schedule(3280, (0, 1, 2)),
        short=Schedule(5, (0, 1, 2), (0,)),
        mean_image=True,
        better=(("50", "5"), ("5", "1")),
        differs="batch 100, not 20; Adam's epsilon 1e-8, not 1e-4; 50,000 images to train on; "
        "judged on every fifth test image, with 1,000 samples",
    ),
    "frey": Row(
        "Frey faces, 560-200-20 (tanh), Gaussian pixels: −ELBO",
        "Kingma and Welling (2014), figure 2, has a curve and no number",
        data="frey_faces",
        model={"latent": 20, "hidden": (200,), "activation": "tanh", "likelihood": "sigma"},
        fit={"batch": 100, "learning_rate": 1e-3, "patience": 50},
        samples=0,
        lines={"vae": Line("VAE, one sigma, learned", "a curve")},
        full=Schedule(1000, (0, 1, 2)),
        differs="one sigma, learned, for all pixels, where theirs is the decoder's, pixel by "
        "pixel, with a sigmoid on the mean; Adam, not AdaGrad; stopped by 196 of the frames. Ours "
        "is a density over grey values from 0 to 1 (from 0 to 255 it would be 560 log 255 = 3103.1 "
        "nats more). The scale and the split of theirs are not told, and it is a curve without "
        "numbers: the figures cannot be compared. The frames are of one film, so that each test "
        "frame has neighbours among those to train on",
    ),
}
