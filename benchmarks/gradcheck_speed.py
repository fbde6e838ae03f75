"""The time of a gradient check beside PyTorch's and JAX's: every weight of a small VAE's loss.

The loss is the negative ELBO in float64, with tanh between the layers, so that no difference
crosses a kink; each contestant, in a process of its own, checks the same function of the same
weights, and must find it right. Which errors each would find is another question, which
`gradcheck_strength.py` answers.

tinyvae     `tinyvae.gradcheck`: differences and the complex step, along random directions
torch_slow  `torch.autograd.gradcheck` as it comes: differences element by element
torch_fast  the same with ``fast_mode=True``: one random direction
jax         `jax.test_util.check_grads` of the jitted loss, reverse mode: one random direction

ratio       of tinyvae's time to this contestant's, round by round: below 1 tinyvae is quicker
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

from cases import Case
from harness import Contestant, in_turn, parser, ratios, report, run, seconds, spread

CASES = {"16-8-2, batch 5": Case(16, (8,), 2, 5), "64-32-2, batch 32": Case(64, (32,), 2, 32)}


# The contestants: each returns a check of the loss in all weights, whether it is passed


def tinyvae_check(case: Case) -> Callable[[], bool]:
    """`tinyvae.gradcheck` of a function of Tensors."""
    import tinyvae as tv

    weights, x, noise = case.draw(0)
    x, noise = tv.Tensor(x), tv.Tensor(noise)

    def loss(w1, b1, w2, b2, w3, b3, w4, b4):
        mean, log_variance = tv.split(tv.affine(tv.tanh(tv.affine(x, w1, b1)), w2, b2), 2)
        z = tv.gaussian_sample(mean, log_variance, noise)
        logits = tv.affine(tv.tanh(tv.affine(z, w3, b3)), w4, b4)
        kl = tv.kl_standard_normal(mean, log_variance)
        return (tv.bernoulli_cross_entropy(logits, x) + kl).mean()

    return lambda: bool(tv.gradcheck(loss, *weights))


def torch_check(case: Case, fast: bool) -> Callable[[], bool]:
    """`torch.autograd.gradcheck` of the module's loss."""
    import torch
    from torch.autograd import gradcheck
    from torch.nn.functional import binary_cross_entropy_with_logits, linear

    weights, x, noise = ([torch.from_numpy(a) for a in part] for part in case.draw(0))
    x, noise = torch.stack(x), torch.stack(noise)
    weights = [(w.T if w.ndim == 2 else w).clone().requires_grad_() for w in weights]

    def loss(w1, b1, w2, b2, w3, b3, w4, b4):
        mean, log_variance = linear(torch.tanh(linear(x, w1, b1)), w2, b2).chunk(2, 1)
        z = mean + torch.exp(log_variance / 2) * noise
        logits = linear(torch.tanh(linear(z, w3, b3)), w4, b4)
        kl = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())
        return (binary_cross_entropy_with_logits(logits, x, reduction="sum") + kl) / len(x)

    return lambda: gradcheck(loss, weights, fast_mode=fast)


def jax_check(case: Case) -> Callable[[], bool]:
    """`jax.test_util.check_grads`, which raises where it finds an error."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads
    from jax_vae import cross_entropy

    jax.config.update("jax_enable_x64", True)
    weights, x, noise = case.draw(0)

    @jax.jit
    def loss(w1, b1, w2, b2, w3, b3, w4, b4):
        mean, log_variance = jnp.split(jnp.tanh(x @ w1 + b1) @ w2 + b2, 2, 1)
        z = mean + jnp.exp(log_variance / 2) * noise
        kl = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance), 1)
        return jnp.mean(cross_entropy(jnp.tanh(z @ w3 + b3) @ w4 + b4, x) + kl)

    return lambda: check_grads(loss, tuple(weights), order=1, modes="rev") is None


CHECKS: dict[str, Callable[[Case], Callable[[], bool]]] = {"tinyvae": tinyvae_check}
if find_spec("torch"):
    CHECKS["torch_slow"] = partial(torch_check, fast=False)
    CHECKS["torch_fast"] = partial(torch_check, fast=True)
if find_spec("jax"):
    CHECKS["jax"] = jax_check


def play(name: str, case: str) -> Callable[[], float]:
    """Checked once, and ready to be timed: seconds a check."""
    check = CHECKS[name](CASES[case])

    def passed() -> None:
        if not check():
            raise SystemExit(f"{name} finds the gradient of {case} wrong, which is right")

    passed()
    return lambda: seconds(passed)


CONTESTANTS = {name: partial(play, name) for name in CHECKS}


# The benchmark


def main() -> None:
    """Case by case, round by round."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    chosen = options.parse_args()
    rows = []
    for case in chosen.cases:
        with ExitStack() as stack:
            ready = {name: stack.enter_context(Contestant(name, case=case)) for name in CHECKS}
            times = in_turn(ready, chosen.rounds)
        for name, each in times.items():
            s = {f"s_{key}": value for key, value in spread(each).items()}
            ratio = spread(ratios(times["tinyvae"], each))["median"]
            rows.append({"case": case, "contestant": name} | s | {"ratio": ratio})
    report("gradcheck_speed", chosen, rows=rows, floors=[])


if __name__ == "__main__":
    run(main, CONTESTANTS)
