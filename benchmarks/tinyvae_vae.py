"""tinyvae as a contestant: the step of `tinyvae.fit`, and the same for the IWAE bound."""

from __future__ import annotations

import math
from typing import Any

from cases import RATE, Case

import tinyvae as tv
from tinyvae.data.dataset import Split
from tinyvae.training import Settings, Trainer


class TinyvaeStep:
    """`Trainer.train_step`; with k samples `log_weights`, `Replay` and Adam."""

    keeps_gradients = True

    def __init__(self, case: Case, weights: list[Any], x: Any, dtype: str) -> None:
        self.model = tv.VAE((1, case.pixels), case.latent, case.hidden).to(dtype=dtype)
        self.set_parameters(weights)
        self.x, self.case, self.dtype = tv.Tensor(x.astype(dtype)), case, dtype
        self.noise = tv.Noise(0, "posterior")
        images = Split(x.reshape(case.batch, 1, case.pixels).astype("float32"))
        settings = Settings(batch=case.batch, learning_rate=RATE)
        self.trainer = Trainer(self.model, images, None, settings)
        self.bound = tv.Replay(self.negative_bound, self.model.parameters())
        self.train = self.iwae if case.k else self.elbo

    def __call__(self, noise: Any = None) -> Any:
        drawn = self.noise.normal(self.case.noise_shape, self.dtype) if noise is None else noise
        return self.train(drawn)

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
        """NumPy is done when it returns."""

    def set_parameters(self, weights: list[Any]) -> None:
        for parameter, array in zip(self.model.parameters(), weights, strict=True):
            parameter.array[...] = array

    def gradients(self) -> list[Any]:
        return [p.grad.copy() for p in self.model.parameters()]

    def parameters(self) -> list[Any]:
        return [p.numpy().copy() for p in self.model.parameters()]


class NumbaStep(TinyvaeStep):
    """The same with kernels that Numba compiles."""

    def __init__(self, *given: Any) -> None:
        tv.use("numpy", kernels="numba")  # for all of this process
        super().__init__(*given)
