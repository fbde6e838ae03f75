"""What disentangled VAEs gain and lose: a sweep over beta, every measure, and two pictures.

Each model trains on drawn images, whose factors are known, with Adam 1e-3 and batches of 64, and
is judged on images that are drawn anew. Every run is kept in a folder by its configuration, so
that the table can be interrupted and goes on where it was; a run alone: ``--runs beta-tcvae:8
--seeds 0``.

reconstruction, kl  -log p(x | z) and KL(q(z | x) || p(z)), in nats per image
tc                  the total correlation of the aggregate posterior, in nats: 500 codes under
                    the posteriors of all images judged
mig, mig_means      the mutual information gap: of codes drawn from q(z | x), and of their means
sap, disentangled,  of the means; see `tinyvae.evaluation.disentanglement`
complete, informed
votes               FactorVAE's score; see `tinyvae.evaluation.factor_votes`
active              latent dimensions that are used
train_s             seconds of training

Of sprites the rotation cannot be told from a picture alone (a square looks the same four times in
a turn), so that a fifth of every measure is out of reach there; ``mig_each`` in the JSON file has
the factors one by one.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

from harness import FOLDER, Row, floor, parser, report, run, seconds

RUNS = [
    "vae:1",
    *(f"{model}:{beta}" for beta in (2, 4, 8) for model in ("beta-vae", "beta-tcvae")),
    "factor-vae:8",
    "capacity-vae:1",
]
CATEGORIES = {"sprites": (0,), "faces": (7,)}
JUDGED, CODES, BLOCK = 10_000, 500, 50
VOTES, GROUP = 400, 32


# A run


def trained(config: Row, folder: Path) -> tuple[Any, Row]:
    """The model of a configuration and its row; trained and judged if it is not there yet."""
    from safetensors.numpy import load_file, save_file

    model, known = made(config), folder / "row.json"
    if known.exists():
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        return model, json.loads(known.read_text())
    spent = train(model, config)
    row = {**config, **judge(model, config), "train_s": spent}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "weights.safetensors")
    known.write_text(json.dumps(row, indent=1) + "\n")
    return model, row


def made(config: Row) -> Any:
    """The model, not trained."""
    from tinyvae.models import model_class

    shape = (config["size"],) * 2 + (3,) * (config["data"] == "faces")
    extra = {"capacity": config["capacity"]} if config["model"] == "capacity-vae" else {}
    hidden, seed = tuple(config["hidden"]), config["seed"]
    kind = model_class(config["model"])
    return kind(shape, config["latent"], hidden, seed=seed, **extra)


def train(model: Any, config: Row) -> float:
    """Seconds that it took. The capacity rises over four fifths of the epochs."""
    import tinyvae as tv

    images = drawn(config, config["count"], seed=0)
    settings = {"epochs": config["epochs"], "batch": 64, "seed": config["seed"]}
    settings["warm_up"] = config["epochs"] * 4 // 5 if config["model"] == "capacity-vae" else 0
    return seconds(lambda: tv.fit(model, images.images, beta=config["beta"], **settings))


def drawn(config: Row, count: int, seed: int) -> Any:
    """So many images, and their factors."""
    from tinyvae.data import load

    # The loader holds a fifth back.
    data = load(config["data"], count=count * 5 // 4, size=config["size"], seed=seed)
    return data.train


# What is measured


def judge(model: Any, config: Row) -> Row:
    """All measures, on images that are drawn anew."""
    import numpy as np

    import tinyvae as tv
    from tinyvae.evaluation.disentanglement import disentanglement_scores, mig, mig_per_factor
    from tinyvae.evaluation.elbo import elbo

    fresh = drawn(config, JUDGED, seed=1)
    found = elbo(model, fresh)
    mean, log_variance = model.embed(fresh.images)
    noise = tv.Noise(0, backend="numpy").normal(mean.shape)
    z = mean + np.exp(log_variance / 2) * noise
    scores = disentanglement_scores(mean, fresh.labels, CATEGORIES[config["data"]])
    return {
        "reconstruction": found.reconstruction,
        "kl": found.kl,
        "tc": total_correlation(mean, log_variance, z[:CODES]),
        "mig": mig(z, fresh.labels),
        "mig_means": scores.mig,
        "sap": scores.sap,
        "disentangled": scores.disentanglement,
        "complete": scores.completeness,
        "informed": scores.informativeness,
        "votes": votes(model, config, fresh.labels, mean.std(axis=0)),
        "active": found.active_units,
        "mig_each": mig_per_factor(z, fresh.labels).tolist(),
    }


def total_correlation(mean: Any, log_variance: Any, z: Any) -> float:
    """Of the average of q(z | x) over the images, at codes (M, K)."""
    import numpy as np

    from tinyvae import Tensor, logsumexp, no_grad
    from tinyvae.distributions import Gaussian
    from tinyvae.models.beta_tcvae import pairwise

    q, parameters = Gaussian(z.shape[1], None), (Tensor(mean), Tensor(log_variance))
    each = []
    with no_grad():
        for start in range(0, len(z), BLOCK):
            apart = pairwise(q, parameters, Tensor(z[start : start + BLOCK]))  # (m, N, K)
            joint, product = logsumexp(apart.sum(axis=2), axis=1), logsumexp(apart, axis=1)
            each.append((joint - product.sum(axis=1)).numpy())
    return float(np.concatenate(each).mean() + (z.shape[1] - 1) * np.log(len(mean)))


def votes(model: Any, config: Row, factors: Any, spread: Any) -> float:
    """FactorVAE's score, of groups that are drawn for it."""
    from tinyvae.evaluation.factor_votes import factor_vae_score, groups_sharing

    groups = groups_sharing(factors, VOTES, GROUP)
    draw = import_module(f"tinyvae.data.{config['data']}").draw
    images = draw(groups.factors.reshape(VOTES * GROUP, -1), config["size"])
    codes = model.embed(images)[0].reshape(VOTES, GROUP, -1)
    return factor_vae_score(codes, groups.kept, spread)


# The table


def configs(chosen: argparse.Namespace) -> list[Row]:
    """Of every run, seed by seed."""
    shared = ("data", "size", "count", "epochs", "latent", "hidden", "capacity")
    about = {name: getattr(chosen, name) for name in shared}
    asked = [part.rpartition(":") for part in chosen.runs]
    return [
        {"model": model, "beta": float(beta), "seed": seed} | about
        for seed in chosen.seeds
        for model, _, beta in asked
    ]


def place(cache: Path, config: Row) -> Path:
    """The folder of a configuration."""
    digest = zlib.crc32(json.dumps(config, sort_keys=True).encode())
    name = "{data}-{model}-{beta:g}-seed{seed}".format(**config)
    return cache / f"{name}-{digest:08x}"


def floors(rows: list[Row]) -> list[Row]:
    """That the beta-TCVAE's gap is ahead of the plain VAE's, for each seed and beta."""
    plain = {row["seed"]: row for row in rows if row["model"] == "vae"}
    return [
        floor(
            f"{key} of beta-tcvae {row['beta']:g} - vae, seed {row['seed']}",
            [row[key] - plain[row["seed"]][key]],
            1,
        )
        for row in rows
        if row["model"] == "beta-tcvae" and row["seed"] in plain
        for key in ("mig", "mig_means")
    ]


def main() -> None:
    """Seed by seed, run by run."""
    options = parser(__doc__)
    options.add_argument("--data", choices=[*CATEGORIES], default="sprites")
    options.add_argument("--size", type=int, default=32, help="pixels a side")
    options.add_argument("--count", type=int, default=8000, help="images to train on")
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--latent", type=int, default=10)
    options.add_argument("--hidden", type=int, nargs="+", default=[256, 256])
    options.add_argument("--capacity", type=float, default=12.0, help="nats, of capacity-vae")
    options.add_argument("--runs", nargs="+", default=RUNS, help="model:beta")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--kernels", default="numpy", help="as for tinyvae train")
    options.add_argument("--cache", type=Path, default=FOLDER / "results" / "disentanglement")
    chosen = options.parse_args()
    import tinyvae as tv

    models, rows = {}, []
    with tv.use("numpy", kernels=chosen.kernels):
        for config in configs(chosen):
            model, row = trained(config, place(chosen.cache, config))
            rows.append(row)
            models.setdefault((row["model"], row["beta"]), model)
            said = "{model} {beta:g}, seed {seed}: MIG {mig:.3f}, {reconstruction:.1f} nats, "
            print(said.format(**row) + f"{row['train_s']:.0f} s", file=sys.stderr, flush=True)
    chosen.cache = None  # a place of this machine
    path = report_of(chosen, rows)
    from disentanglement_pictures import draw_all

    draw_all(path, rows, models, drawn(configs(chosen)[0], 1000, seed=1))


def report_of(chosen: argparse.Namespace, rows: list[Row]) -> Path:
    """Print and write the table without what is the same for all, and the gaps one by one."""
    shared = ("data", "size", "count", "epochs", "latent", "hidden", "capacity", "mig_each")
    short = [{key: value for key, value in row.items() if key not in shared} for row in rows]
    each = [{key: row[key] for key in ("model", "beta", "seed", "mig_each")} for row in rows]
    return report("disentanglement", chosen, rows=short, factors=each, floors=floors(rows))


if __name__ == "__main__":
    run(main)
