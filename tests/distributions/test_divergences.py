"""The KL is exact where there is a closed form, and else an estimate without bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.distributions.divergences import divergence, is_analytic, table
from tinyvae.distributions.posteriors import POSTERIORS, drawn, posterior
from tinyvae.distributions.priors import PRIORS, prior

RNG = np.random.default_rng(0)
ANALYTIC = {"gaussian", "full", "laplace", "logistic", "uniform"}


def parts(q_name: str, p_name: str) -> tuple[Any, Any]:
    noise = tv.Noise(0)
    made = posterior(q_name, 2, noise), prior(p_name, 2, 4, noise)
    return tuple(part.to(dtype="float64") for part in made)  # type: ignore[return-value]


def test_the_table_has_every_pair_and_says_which_are_exact() -> None:
    found = table()
    assert set(found) == {(q, p) for q in POSTERIORS for p in PRIORS}
    exact = {pair for pair, way in found.items() if way == "analytic"}
    assert exact == {(q, p) for q in ANALYTIC for p in ("normal", "fitted")}
    refused = {pair for pair, way in found.items() if way == "refused"}
    assert refused == {(q, "vamp") for q in POSTERIORS if q != "gaussian"}


@pytest.mark.parametrize("q_name", POSTERIORS)
@pytest.mark.parametrize("p_name", ["normal", "mixture"])
def test_the_kl_is_the_mean_of_log_q_less_log_p(q_name: str, p_name: str) -> None:
    q, p = parts(q_name, p_name)
    output = tv.Tensor(np.tile(RNG.normal(size=q.outputs) / 2, (20_000, 1)))
    parameters = q.split(output)
    z, log_q = q.draw(parameters, drawn(q, tv.Noise(1), (20_000,), "float64"))
    encode: Any = None
    kl = divergence(q, p, parameters, z, log_q, encode).numpy()
    estimate = (log_q - p.log_prob(z, encode)).numpy()
    error = estimate.std() / np.sqrt(len(estimate))
    assert abs(kl.mean() - estimate.mean()) < 5 * error + 1e-12
    assert (kl.std() < 1e-12) == is_analytic(q, p)
