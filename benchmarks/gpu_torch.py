"""PyTorch on a device, for `gpu.py`: eager, and compiled into one CUDA graph a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cases import Case
from harness import Row, peak_mb, seconds
from torch._dynamo.utils import counters
from torch_vae import GraphStep, TorchStep, TorchVAE

from tinyvae.data import load

DEVICES = {"gpu": "cuda", "cpu": "cpu"}
MATMUL = {"float32": "highest", "tf32": "high", "bfloat16": "highest"}
chosen = {"device": "cpu", "precision": "float32"}


class Bfloat16VAE(TorchVAE):
    """With automatic mixed precision: products in bfloat16, losses and parameters in float32."""

    def terms(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(x.device.type, torch.bfloat16):
            return super().terms(x, noise)

    def iwae(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return super().iwae(x, noise)


def use(device: str, precision: str) -> None:
    """What is made from now on is there, with products of this precision."""
    if device == "gpu" and not torch.cuda.is_available():
        raise RuntimeError(f"PyTorch {torch.__version__} finds no GPU")
    torch.set_float32_matmul_precision(MATMUL[precision])
    torch.compiler.reset()  # the functions that were compiled before are not wanted any more
    chosen.update(device=DEVICES[device], precision=precision)


def about() -> Row:
    """The device and the library."""
    on_gpu = chosen["device"] == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    return {"device": name, "library": f"torch {torch.__version__}"}


def kind(name: str) -> type[TorchStep]:
    """The class of a contestant at this precision."""
    base = {"torch": TorchStep, "torch_compiled": GraphStep}[name]
    vae = Bfloat16VAE if chosen["precision"] == "bfloat16" else TorchVAE
    return type(base.__name__, (base,), {"kind": vae})


def make(name: str, case: Case, _images: int, *given: Any) -> TorchStep:
    """The contestant; eager, Adam is at its quickest where it is fused."""
    adam = {} if name == "torch_compiled" else {"fused": True}
    if chosen["device"] == "cuda" and adam:
        adam["capturable"] = True  # its count of steps stays on the device
    return kind(name)(case, *given, device=chosen["device"], **adam)


def held_mb() -> float:
    """The most that this library has held, by its own count."""
    return torch.cuda.max_memory_reserved() / 1e6 if chosen["device"] == "cuda" else peak_mb()


def product(n: int, precision: str) -> Callable[[], object]:
    """A product of n by n."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(n, n, device=chosen["device"]).to(dtype) for _ in range(2))
    return lambda: a @ b


def normals(n: int) -> Callable[[], object]:
    """So many draws from the standard normal, into the device's memory."""
    return lambda: torch.randn(n, device=chosen["device"])


def wait(_result: object) -> None:
    if chosen["device"] == "cuda":
        torch.cuda.synchronize()


def mnist(name: str, case: Case, data: str, _precision: str) -> Callable[[int, int], Row]:
    """The images stay on the device; a compiled step takes its batch from them itself."""
    images = load(data)
    train_x, test_x = (part.batch(slice(None)) for part in (images.train, images.test))
    step = make(name, case, 0, case.draw(0)[0], train_x, "float32")
    test = torch.from_numpy(test_x).to(chosen["device"])

    def epoch() -> None:
        for rows in torch.randperm(len(train_x), device=chosen["device"]).split(case.batch):
            step(rows=rows)

    def run(seed: int, epochs: int) -> None:
        torch.manual_seed(seed)
        step.restart(case.draw(seed)[0])
        for _ in range(epochs):
            epoch()
        step.wait()

    def train(seed: int, epochs: int) -> Row:
        train_s = seconds(lambda: run(seed, epochs))
        with torch.no_grad():
            parts = [sum(step.model.terms(x, step.drawn(len(x)))) for x in test.split(1000)]
        return {"train_s": train_s, "elbo": float(sum(parts)) / len(test)}

    return train


def graphs_missed() -> int:
    """How many of the compiled functions run without a CUDA graph."""
    return counters["inductor"]["cudagraph_skips"]
