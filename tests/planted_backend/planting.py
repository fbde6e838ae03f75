"""What a planted backend error is, where it is planted, and what the stand-in says of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import standin

import tinyvae as tv
from tinyvae import optim
from tinyvae.autograd import OPS
from tinyvae.autograd.lift import op as lift
from tinyvae.backend import Array, Backend
from tinyvae.data.dataset import Split
from tinyvae.distributions import likelihoods, posteriors
from tinyvae.nn import FlatParameters
from tinyvae.training import Settings, Trainer

Code: TypeAlias = Callable[..., Any]
Run: TypeAlias = Callable[[Code], list[Any]]
"""Runs the code where it is planted; gives the arrays, or the numbers, that come of it."""

IMAGES = np.random.default_rng(0).integers(256, size=(16, 3, 4), dtype=np.uint8)
KINDS = (
    "a NumPy call on a device array",
    "an implicit conversion",
    "a NumPy operand",
    "a promotion to float64",
    "a hidden wait",
    "a scalar where there is a 0-d array",
    "a write into a view or an input",
    "what CuPy has not, or otherwise",
)


@dataclass(frozen=True)
class Scene:
    """A place for code: what makes it ready on a backend, and whether it may wait for the host."""

    prepare: Callable[[Backend], Run]
    right: Code
    may_wait: bool = False


@dataclass(frozen=True)
class Planted:
    """An error in code that NumPy runs.

    Attributes
    ----------
    wrong : callable
        The code with the error.
    scene : Scene
        Where it is planted, with the right code.
    kind : str
        One of `KINDS`.
    says : str
        What the stand-in says, as a pattern for `verdict`.
    """

    wrong: Code
    scene: Scene
    kind: str
    says: str

    @property
    def name(self) -> str:
        """The error, in words."""
        return self.wrong.__name__.replace("_", " ")


def planted_in(errors: list[Planted], scene: Scene, kind: str, says: str) -> Callable[[Code], Code]:
    """Add the decorated function to ``errors``; part of the kind's name will do."""
    [kind] = [known for known in KINDS if kind in known]

    def add(wrong: Code) -> Code:
        errors.append(Planted(wrong, scene, kind, says))
        return wrong

    return add


def verdict(scene: Scene, code: Code) -> str:
    """What the stand-in says of ``code``: an error, a wait, a float64, or other numbers; or ''."""
    with tv.use("standin") as backend:
        run, before = scene.prepare(backend), standin.CALLS.copy()
        try:
            with standin.count_syncs() as waits, standin.record_made() as made:
                results = run(code)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        calls = standin.CALLS - before
    if not scene.may_wait and (waits or calls):
        return f"waits: {', '.join([*waits, *calls])}"
    if "float64" in made:
        return f"float64: {made.count('float64')} arrays"
    return "" if _agree(results, numbers_of(scene, scene.right)) else "other numbers than NumPy's"


def numbers_of(scene: Scene, code: Code) -> list[Any]:
    """What comes of the code on NumPy."""
    with tv.use("numpy") as backend, np.errstate(all="ignore"):
        return scene.prepare(backend)(code)


def goes_unseen(error: Planted) -> bool:
    """Whether NumPy runs the wrong code, and gives the right numbers."""
    try:
        got = numbers_of(error.scene, error.wrong)
    except Exception:
        return False
    return _agree(got, numbers_of(error.scene, error.scene.right))


def _agree(results: list[Any], wanted: list[Any]) -> bool:
    return all(
        np.allclose(_on_host(a), b, rtol=1e-4, atol=1e-5, equal_nan=True)
        for a, b in zip(results, wanted, strict=True)
    )


def _on_host(value: Any) -> Any:
    return standin.to_host(value) if isinstance(value, standin.DeviceArray) else value


def _protected(*arrays: Array) -> Any:
    return standin.protected(*(a for a in arrays if isinstance(a, standin.DeviceArray)))


# Places


def an_op(name: str | Code, *shapes: tuple[int, ...], **options: Any) -> Scene:
    """An op, and each of its pullbacks; what it is given is not to be changed."""
    right = OPS[name].bare if isinstance(name, str) else name
    rng = np.random.default_rng(0)
    first, *others = shapes or ((3, 4),)
    hosts = [rng.standard_normal(first), *(rng.uniform(0.1, 0.9, shape) for shape in others)]
    value, _ = right(*hosts, **options)
    upstream = rng.standard_normal(value.shape)

    def prepare(backend: Backend) -> Run:
        *arrays, g = (backend.from_host(a.astype("float32")) for a in (*hosts, upstream))

        def run(code: Code) -> list[Any]:
            with _protected(*arrays, g):
                value, pullbacks = code(*arrays, **options)
                pullbacks = pullbacks if isinstance(pullbacks, tuple) else (pullbacks,)
                with _protected(value):
                    return [value, *(pullback(g) for pullback in pullbacks)]

        return run

    return Scene(prepare, right)


def in_a_step(
    right: Code, *patch: Any, adapt: Callable[[Code], Any] | None = None, **settings: Any
) -> Scene:
    """A whole training step of a VAE by Adam, with the code in the place that ``patch`` names.

    Without a place the code is the step: a function of the trainer, the pixels and the noise.
    """

    def prepare(backend: Backend) -> Run:
        trainer = Trainer(
            tv.VAE((3, 4), latent=3, hidden=(6,)),
            Split(IMAGES),
            None,
            Settings(batch=8, **settings),
        )
        trainer._terms = trainer._terms.tape  # a step as it stands, and not compared with another
        batches = list(trainer._batches())
        trainer.train_step(*batches[0])  # what is set up at first use

        def run(code: Code) -> list[Any]:
            with ExitStack() as stack:
                step = code
                if patch:
                    stack.enter_context(mock.patch.object(*patch, adapt(code) if adapt else code))
                    step = Trainer.train_step
                reported = step(trainer, *batches[1])
            numbers = [] if isinstance(reported, tuple) else list(reported or ())
            return [*numbers, *(p.array for p in trainer.model.parameters())]

        return run

    return Scene(prepare, right)


def beside_a_step(right: Code) -> Scene:
    """Code that looks at a model and a batch, in training; they are not to be changed."""

    def prepare(backend: Backend) -> Run:
        model, noise = tv.VAE((3, 4), latent=3, hidden=(6,)), tv.Noise(0)
        parameters = FlatParameters(model.parameters())
        pixels, draws = noise.uniform((8, 12)), noise.normal((8, 3))
        views = [p.array for p in parameters.parameters]

        def run(code: Code) -> list[Any]:
            with _protected(parameters.values, *views, pixels, draws):
                return code(model, pixels, draws)

        return run

    return Scene(prepare, right)


def an_adam() -> Scene:
    """The rule of Adam, in a whole training step."""
    return in_a_step(optim.adam, optim.Adam, "rule", adapt=staticmethod)


def a_derivation(name: str) -> Scene:
    """A derivation, in the loss of a whole training step."""
    used = likelihoods if hasattr(likelihoods, name) else posteriors
    return in_a_step(OPS[name].bare, used, name, adapt=lift)


def at_leisure(right: Code, *hosts: np.ndarray) -> Scene:
    """Code that reports on arrays, outside of training, where it may wait for the device."""

    def prepare(backend: Backend) -> Run:
        arrays = [backend.from_host(a) for a in hosts]

        def run(code: Code) -> list[Any]:
            with _protected(*arrays):
                return [code(backend, *arrays)]

        return run

    return Scene(prepare, right, may_wait=True)
