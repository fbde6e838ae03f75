"""One training step of a small VAE in PyTorch, as numbers: ``python tests/make_torch_step.py``.

It writes ``torch_step.json`` beside this file anew, and needs PyTorch for that; the test that
reads it, `test_torch_step`, does not. Nothing of tinyvae is used here but the names and the
orientation of the weights: theirs are (fan_out, fan_in), and are transposed to be written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("torch_step.json")
SEED, RATE = 0, 1e-3
IMAGES, PIXELS, HIDDEN, LATENT = 5, 12, 7, 3


def networks() -> Any:
    """The encoder, 12-7-6, and the decoder, 3-7-12, with weights that PyTorch draws."""
    from torch import float64
    from torch.nn import Linear, ModuleDict, ReLU, Sequential

    def dense(*widths: int) -> Any:
        first, last = (Linear(*pair, dtype=float64) for pair in (widths[:2], widths[1:]))
        return Sequential(first, ReLU(), last)

    encoder, decoder = dense(PIXELS, HIDDEN, 2 * LATENT), dense(LATENT, HIDDEN, PIXELS)
    return ModuleDict({"encoder": encoder, "decoder": decoder})


def draw() -> dict[str, Any]:
    """Weights, grey pixels and noise: what a step begins with."""
    import torch

    torch.manual_seed(SEED)
    weights = named(networks())
    x = torch.randint(256, (IMAGES, PIXELS), dtype=torch.float64) / 255
    noise = torch.randn(IMAGES, LATENT, dtype=torch.float64)
    return {"weights": weights, "x": x.tolist(), "noise": noise.tolist()}


def step(weights: dict[str, Any], x: Any, noise: Any) -> dict[str, Any]:
    """The loss, its two parts for each image, all gradients, and the weights after Adam."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    model = networks()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            array = torch.tensor(weights[ours(name)], dtype=torch.float64)
            parameter.copy_(array.T if array.ndim == 2 else array)
    x, noise = (torch.tensor(rows, dtype=torch.float64) for rows in (x, noise))
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    mean, log_variance = model["encoder"](x).chunk(2, dim=-1)
    logits = model["decoder"](mean + torch.exp(log_variance / 2) * noise)
    cross_entropy = binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)
    loss = (cross_entropy + kl).mean()
    loss.backward()
    gradients = named(model, gradients=True)
    optimiser.step()
    parts = {"reconstruction": cross_entropy.tolist(), "kl": kl.tolist()}
    return {"loss": loss.item(), **parts, "gradients": gradients, "stepped": named(model)}


def named(model: Any, gradients: bool = False) -> dict[str, Any]:
    """The parameters, or their gradients, under tinyvae's names and in its orientation."""
    found = {}
    for name, parameter in model.named_parameters():
        array = (parameter.grad if gradients else parameter).detach()
        found[ours(name)] = (array.T if array.ndim == 2 else array).tolist()
    return found


def ours(name: str) -> str:
    """What tinyvae calls a parameter.

    >>> ours("encoder.0.weight")
    'encoder.layers.0.weight'
    """
    return name.replace(".", ".layers.", 1)


def text(content: dict[str, Any]) -> str:
    """JSON with one array on a line."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict):
            inner = ",\n".join(f'  "{name}": {json.dumps(array)}' for name, array in value.items())
            lines.append(f' "{key}": {{\n{inner}\n }}')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Write the file."""
    import torch

    start = draw()
    about = {"made_by": "tests/make_torch_step.py", "torch": torch.__version__, "seed": SEED}
    FILE.write_text(text(about | {"rate": RATE} | start | step(**start)))


if __name__ == "__main__":
    main()
