"""tinyvae as a contestant: the step of `tinyvae.fit`, and the same for the IWAE bound.

On the backend in use: the arrays of all are copied there, and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from cases import RATE, Case

import tinyvae as tv
from tinyvae.data.batches import batches
from tinyvae.data.dataset import Split
from tinyvae.objectives import elbo_terms
from tinyvae.training import Settings, Trainer


class TinyvaeStep:
    """`Trainer.train_step`; with k samples `log_weights`, `Replay` and Adam."""

    keeps_gradients, steps = True, 1

    def __init__(self, case: Case, weights: list[Any], x: Any, dtype: str) -> None:
        self.model = tv.VAE((1, case.pixels), case.latent, case.hidden).to(dtype=dtype)
        self.set_parameters(weights)
        self.x, self.case, self.dtype = tv.Tensor(x.astype(dtype)), case, dtype
        backend = self.model.backend
        self.draw = (
            tv.Noise(0, "posterior").normal
            if backend.host
            else backend.generator(0).standard_normal
        )
        self.trainer = self.make_trainer(x.reshape(case.batch, 1, case.pixels))
        self.bound = tv.Replay(self.negative_bound, self.model.parameters())
        self.train = self.iwae if case.k else self.elbo

    def make_trainer(self, images: Any) -> Trainer:
        settings = Settings(batch=self.case.batch, learning_rate=RATE)
        return Trainer(self.model, Split(images.astype("float32")), None, settings)

    def __call__(self, noise: Any = None) -> Any:
        drawn = self.draw(self.case.noise_shape, self.dtype) if noise is None else noise
        return self.train(self.model.backend.asarray(drawn))

    def elbo(self, noise: Any) -> Any:
        return self.trainer.train_step(self.x, noise).loss.array

    def iwae(self, noise: Any) -> Any:
        optimiser = self.trainer.state.optimiser
        optimiser.zero_grad()
        loss = self.bound(self.x.array, noise)
        optimiser.step()
        return loss.array

    def negative_bound(self, x: Any, noise: Any) -> Any:
        log_weights = tv.log_weights(self.model, tv.Tensor.wrap(x), noise)  # (B, k)
        return math.log(self.case.k) - tv.logsumexp(log_weights, axis=1).mean()

    def wait(self) -> None:
        """NumPy is done when it returns; a GPU, when all of its streams are."""
        if not self.model.backend.host:
            self.model.backend.xp.cuda.Device().synchronize()

    def set_parameters(self, weights: list[Any]) -> None:
        for parameter, array in zip(self.model.parameters(), weights, strict=True):
            parameter.array[...] = self.model.backend.asarray(array, parameter.dtype)

    def gradients(self) -> list[Any]:
        to_host = self.model.backend.to_host
        return [to_host(p.buffer()).copy() for p in self.model.parameters()]

    def parameters(self) -> list[Any]:
        return [p.numpy().copy() for p in self.model.parameters()]


class NumbaStep(TinyvaeStep):
    """The same with kernels that Numba compiles."""

    def __init__(self, *given: Any) -> None:
        tv.use("numpy", kernels="numba")  # for all of this process
        super().__init__(*given)


class TapedStep(TinyvaeStep):
    """Every step through the tape anew, in a loop of one's own."""

    def elbo(self, noise: Any) -> Any:
        return self.taped(lambda: elbo_terms(self.model, self.x, noise).loss)

    def iwae(self, noise: Any) -> Any:
        return self.taped(lambda: self.negative_bound(self.x.array, noise))

    def taped(self, make_loss: Callable[[], Any]) -> Any:
        optimiser = self.trainer.state.optimiser
        optimiser.zero_grad()
        loss = make_loss()
        loss.backward()
        optimiser.step()
        return loss.array


class FitStep(TinyvaeStep):
    """Epochs of `tinyvae.fit`, without the look at watched images at their end.

    The batch lies ``steps`` times in its images, as bytes. The loop draws order and noise itself,
    the noise on the device where there are more steps than one; of one step, noise that is given
    has to be that of `fit_noises`, or this step agrees with no other.
    """

    def __init__(self, case: Case, weights: list[Any], x: Any, dtype: str, steps: int = 1) -> None:
        self.steps = steps
        super().__init__(case, weights, x, dtype)

    def make_trainer(self, images: Any) -> Trainer:
        stored = Split(np.tile(np.rint(255 * images).astype(np.uint8), (self.steps, 1, 1)))
        noise = "device" if self.steps > 1 else "host"
        settings = Settings(batch=self.case.batch, learning_rate=RATE, noise=noise)
        return Steps(self.model, stored, None, settings, resident=True)

    def __call__(self, _noise: Any = None) -> Any:
        trainer = self.trainer
        trainer.settings = replace(trainer.settings, epochs=trainer.state.epoch)
        return trainer.run()[-1]["loss"]


class Steps(Trainer):
    """The steps of a run alone."""

    def _log(self) -> dict[str, Any]:
        return {"epoch": self.state.epoch, "loss": sum(self.state.sums) / len(self.train)}


def fit_noises(case: Case, dtype: str, count: int) -> list[Any]:
    """The noise of so many epochs of a `FitStep` of one step, in the order of its images."""
    marks = Split((np.arange(case.batch, dtype="float32") / case.batch).reshape(-1, 1, 1))
    noises = []
    for epoch in range(1, count + 1):
        ((mark, noise),) = batches(marks, case.batch, case.latent, seed=0, epoch=epoch, dtype=dtype)
        noises.append(np.empty_like(noise))
        noises[-1][np.rint(mark[:, 0] * case.batch).astype(int)] = noise
    return noises
