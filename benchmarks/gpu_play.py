"""A contestant's process of `gpu.py`: one library on one device, and what it is asked to do."""

from __future__ import annotations

import importlib
import os
import pickle
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from agreement import STEPS, differences, first_steps
from harness import Row
from step import as_case

LIBRARIES = {
    "tinyvae": "gpu_tinyvae",
    "tinyvae_replayed": "gpu_tinyvae",
    "torch": "gpu_torch",
    "torch_compiled": "gpu_torch",
    "jax": "gpu_jax",
}


class Player:
    """Called with the name of a method and what it takes, it answers with what that returns.

    What goes wrong is an answer too, so that one contestant does not end the others' race.
    """

    def __init__(self, name: str, device: str, dtype: str = "float32") -> None:
        os.environ["JAX_ENABLE_X64"] = str(int(dtype == "float64"))
        self.name, self.device, self.dtype = name, device, dtype

    def __call__(self, do: str, **question: Any) -> Any:
        try:
            return getattr(self, do)(**question)
        except Exception as error:
            from tinyvae.errors import BackendError

            if not isinstance(error, BackendError):  # it says by itself what is wrong
                traceback.print_exc()
            return {"failed": f"{type(error).__name__}: {error}"}

    @cached_property
    def library(self) -> Any:
        """Imported in the process that plays it alone."""
        return importlib.import_module(LIBRARIES[self.name])

    def use(self, precision: str) -> None:
        """Forget the step before, and begin anew at this precision."""
        self.step = self.train = None
        self.library.use(self.device, precision)

    def about(self) -> Row:
        self.use("float32")
        return self.library.about()

    def agree(self, case: Row, seed: int, path: str) -> Row:
        """Leave the `first_steps` in a file."""
        from tinyvae_vae import fit_noises

        self.use("float32")
        sizes = as_case(case)
        noises = () if sizes.k else fit_noises(sizes, self.dtype, STEPS + 1)

        def make(sizes: Any, *given: Any) -> Any:
            return self.library.make(self.name, sizes, 0, *given)

        found = first_steps(make, sizes, seed, self.dtype, noises)
        Path(path).write_bytes(pickle.dumps(found))
        return {}

    # A race

    def prepare(self, case: Row, seed: int, precision: str, lasting: float, images: int) -> Row:
        """Compile, warm up, and find out how many calls last so many seconds."""
        self.use(precision)
        sizes = as_case(case)
        weights, x, _ = sizes.draw(seed)
        self.step = self.library.make(self.name, sizes, images, weights, x, self.dtype)
        self.calls = 1
        while self.seconds(self.calls) < lasting / 2:
            self.calls *= 2
        return {}

    def block(self) -> float:
        """Milliseconds a step."""
        self.seconds(max(1, self.calls // 8))
        return 1000 * self.seconds(self.calls) / (self.calls * self.step.steps)

    def seconds(self, calls: int) -> float:
        """Until the device has done them all."""
        start = time.perf_counter()
        for _ in range(calls):
            self.step()
        self.step.wait()
        return time.perf_counter() - start

    def held(self) -> Row:
        """The library's own count of its memory, in 10^6 bytes."""
        return {"library_mb": self.library.held_mb()}

    # Rates

    def rate(self, n: int, normals: int, precision: str, lasting: float) -> Row:
        """Of a product of n by n, in 10^12 operations a second; nanoseconds for a normal."""
        self.use(precision)
        product_s = self.each(self.library.product(n, precision), lasting)
        normal_s = self.each(self.library.normals(normals), lasting)
        return {"tflops": 2e-12 * n**3 / product_s, "normal_ns": 1e9 * normal_s / normals}

    def each(self, act: Callable[[], object], lasting: float) -> float:
        """Seconds that ``act`` takes, of as many as last so long, once it is warm."""
        wait = self.library.wait
        for _ in range(3):
            wait(act())
        calls, start = 0, time.perf_counter()
        while not calls or time.perf_counter() - start < lasting:
            results = [act() for _ in range(4)]
            wait(results[-1])
            calls += len(results)
        return (time.perf_counter() - start) / calls

    # MNIST

    def read(self, case: Row, data: str, precision: str) -> Row:
        """Have the images where they are trained on."""
        self.use(precision)
        self.train = self.library.mnist(self.name, as_case(case), data, precision)
        return {}

    def fit(self, seed: int, epochs: int) -> Row:
        return self.train(seed, epochs)

    def syncs(self, case: Row, data: str) -> Row:
        return self.library.syncs(as_case(case), data)

    def graphs_missed(self) -> int:
        return self.library.graphs_missed()


def play_compare(folder: str, names: Sequence[str], dtype: str) -> Callable[[], list[Row]]:
    """How far those that left their `first_steps` there are from the first of them."""
    found = {name: pickle.loads((Path(folder) / f"{name}, {dtype}").read_bytes()) for name in names}
    return lambda: differences(found, dtype)


def player(name: str) -> Callable[..., Player]:
    """What starts the process of a contestant."""
    return partial(Player, name)
