"""One training step of a dense VAE: tinyvae, PyTorch, and the step's bare matrix products.

A step is noise, forward, backward and Adam, in float32, on a batch that stays. Before any is
timed, tinyvae and PyTorch get the same weights and noise in float64, and must agree in loss
and gradients to 1e-6. Then each contestant, in a process of its own, warms up and times a
block of steps whenever its turn comes.

tinyvae       `Trainer.train_step` with noise from a `Noise` stream
torch         PyTorch, eager, with `torch.optim.Adam` as it comes
torch_fused   the same with ``fused=True``, its quickest Adam on a CPU
products      the 11 matrix products of the step in NumPy, into arrays that are there already:
              what no NumPy code can beat

ms            per step: median of the rounds, smallest and largest
ratio         of tinyvae's time to this contestant's, round by round: below 1 tinyvae is quicker
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from harness import (
    HAS_TORCH,
    Contestant,
    Row,
    floor,
    in_turn,
    parser,
    ratios,
    report,
    run,
    seconds_each,
    spread,
)

CASES = {
    "784-400-20": {"pixels": 784, "hidden": 400, "latent": 20, "batch": 128},
    "64-32-2": {"pixels": 64, "hidden": 32, "latent": 2, "batch": 32},
}
TOLERANCE = 1e-6
Step = Callable[[], object]


# The contestants: each is given a case and returns a function that is one step


def tinyvae_step(pixels: int, hidden: int, latent: int, batch: int, seed: int) -> Step:
    """The step of tinyvae's own training loop."""
    import tinyvae as tv
    from tinyvae.data.dataset import Split
    from tinyvae.training import Settings, Trainer

    x = tv.Noise(seed, "pixels").uniform((batch, pixels))
    images = Split(x.reshape(batch, 1, pixels))
    model = tv.VAE((1, pixels), latent, (hidden,), seed=seed)
    trainer = Trainer(model, images, None, Settings(batch=batch))
    x, noise = tv.Tensor(x), tv.Noise(seed, "posterior")
    return lambda: trainer.train_step(x, noise.normal((batch, latent)))


def torch_step(pixels: int, hidden: int, latent: int, batch: int, seed: int, **adam: bool) -> Step:
    """The step of PyTorch."""
    import torch
    from torch_vae import TorchVAE, train_step

    torch.manual_seed(seed)
    x, model = torch.rand(batch, pixels), TorchVAE(pixels, hidden, latent)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, **adam)
    return lambda: train_step(model, optimiser, x, torch.randn(batch, latent))


def products_step(pixels: int, hidden: int, latent: int, batch: int, seed: int) -> Step:
    """Of every layer: forward, the weight's gradient, and the input's where it is wanted."""
    import numpy as np

    random = np.random.default_rng(seed)
    layers = []
    for fan_in, fan_out in (
        (pixels, hidden),
        (hidden, 2 * latent),
        (latent, hidden),
        (hidden, pixels),
    ):
        shapes = (batch, fan_in), (fan_in, fan_out), (batch, fan_out)
        given = [random.standard_normal(shape, dtype="float32") for shape in shapes]
        layers.append((*given, *(np.empty_like(array) for array in given)))

    def step() -> None:
        for k, (x, weight, g, to_x, to_weight, y) in enumerate(layers):
            np.matmul(x, weight, out=y)
            np.matmul(x.T, g, out=to_weight)
            if k:
                np.matmul(g, weight.T, out=to_x)

    return step


STEPS: dict[str, Callable[..., Step]] = {"tinyvae": tinyvae_step}
if HAS_TORCH:
    STEPS |= {"torch": torch_step, "torch_fused": partial(torch_step, fused=True)}
STEPS["products"] = products_step


def play(make: Callable[..., Step], lasting: float, **case: int) -> Callable[[], float]:
    """Warmed up, and ready to time a block of steps: milliseconds a step."""
    step = make(**case)
    seconds_each(step, lasting)

    def block() -> float:
        seconds_each(step, lasting / 10)  # the last one's threads may still spin
        return 1000 * seconds_each(step, lasting)

    return block


# The check


def twins(pixels: int, hidden: int, latent: int, seed: int) -> tuple[Any, Any]:
    """A model of tinyvae and one of PyTorch with the same weights, in float64."""
    import torch
    from torch_vae import TorchVAE

    import tinyvae as tv

    ours = tv.VAE((1, pixels), latent, (hidden,), seed=seed).to(dtype="float64")
    theirs = TorchVAE(pixels, hidden, latent).double()
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q.copy_(torch.from_numpy(p.numpy().T))  # PyTorch keeps (O, I)
    return ours, theirs


def play_check(batch: int, seed: int, **sizes: int) -> Callable[[], Row]:
    """How far loss and gradients are apart for the same weights, pixels and noise, relatively."""
    from torch import from_numpy

    import tinyvae as tv

    (ours, theirs), noise = twins(**sizes, seed=seed), tv.Noise(seed, "check")
    x = noise.uniform((batch, sizes["pixels"]), "float64")
    draws = noise.normal((batch, sizes["latent"]), "float64")
    loss = tv.negative_elbo(ours, tv.Tensor(x), draws).loss
    other = sum(theirs.terms(from_numpy(x), from_numpy(draws))) / batch
    loss.backward()
    other.backward()
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    gradients = max(apart(p.grad.T, q.grad.numpy()) for p, q in pairs)
    return lambda: {"loss": apart(loss.numpy(), other.detach().numpy()), "gradients": gradients}


def apart(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest value."""
    return float(abs(a - b).max() / abs(b).max())


def check(case: dict[str, int]) -> Row:
    """Nothing is timed that does not compute the same."""
    with Contestant("check", **case) as contestant:
        found = contestant()
    if not max(found.values()) <= TOLERANCE:
        raise SystemExit(f"tinyvae and torch do not compute the same: {found}")
    return found


CONTESTANTS = {name: partial(play, make) for name, make in STEPS.items()} | {"check": play_check}


# The benchmark


def race(case: dict[str, int], lasting: float, rounds: int) -> dict[str, list[float]]:
    """Milliseconds a step of every contestant, round by round."""
    with ExitStack() as stack:
        ready = {
            name: stack.enter_context(Contestant(name, lasting=lasting, **case)) for name in STEPS
        }
        return in_turn(ready, rounds)


def rows(name: str, times: dict[str, list[float]]) -> list[Row]:
    """One row a contestant."""
    made = []
    for contestant, each in times.items():
        ms = {f"ms_{key}": value for key, value in spread(each).items()}
        ratio = {f"ratio_{k}": value for k, value in spread(ratios(times["tinyvae"], each)).items()}
        made.append({"step": name, "contestant": contestant} | ms | ratio)
    return made


def main() -> None:
    """Check every case, then race."""
    options = parser(__doc__, rounds=25)
    options.add_argument("--lasting", type=float, default=0.5, help="seconds that a block takes")
    options.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    cases = {name: CASES[name] | {"seed": chosen.seed} for name in chosen.cases}
    checks = [{"step": name} | check(case) for name, case in cases.items() if HAS_TORCH]
    races = {name: race(case, chosen.lasting, chosen.rounds) for name, case in cases.items()}
    floors = [
        floor(f"{name}, tinyvae / torch", ratios(times["tinyvae"], times["torch"]), 0.85)
        for name, times in races.items()
        if HAS_TORCH
    ]
    found = [row for name, times in races.items() for row in rows(name, times)]
    report("step", chosen, checks=checks, rows=found, floors=floors)


if __name__ == "__main__":
    run(main, CONTESTANTS)
