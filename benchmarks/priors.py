"""Does a Gaussian mixture prior beat the standard normal? One network, one budget, three seeds.

``--work digits`` has a plane for a latent space, in which the ten kinds of digits lie in clusters,
and draws where the codes and the priors are; ``--work mnist`` has 40 latent dimensions. Pixels are
binarised once (static). A fitted prior takes the network of the standard normal of its seed.

Every row is kept in a folder by its configuration, and its training by the epoch: the table can
be interrupted, and goes on where it was. A row alone: ``--priors vamp:500 --seeds 0``.

log_p, error    log p(x) of test images by importance sampling, in nats per image, and its
                standard error because the codes are drawn
elbo, kl        of the same images, one sample for each
gain            log_p less that of the standard normal with the same seed
low, high       the interval of the gain's mean over the seeds, 95 % by Student's t; and over
                the images of each seed, in pairs: ``image_error`` is its standard error
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from harness import FOLDER, Row, floor, half_interval, parser, report, run, seconds

WORKS: dict[str, Row] = {
    "digits": {
        "network": {"latent": 2, "hidden": (128, 64)},
        "settings": {"epochs": 200, "batch": 64, "learning_rate": 1e-3, "warm_up": 50},
        "priors": ["normal", "mixture:10", "vamp:10", "fitted:10"],
        "images": 300,
        "promised": 0,
    },
    "mnist": {
        "network": {"latent": 40, "hidden": (400,)},
        "settings": {"epochs": 60, "batch": 100, "learning_rate": 1e-3, "warm_up": 10},
        "priors": ["normal", "mixture:500", "vamp:500", "fitted:100"],
        "images": 1000,
        "promised": 1,
    },
}


# A row


def made(config: Row, prior: str) -> Any:
    """The model, not trained."""
    import tinyvae as tv

    shape = dataset(config).image_shape
    return tv.VAE(shape, **config["network"], seed=config["seed"], prior=prior)


def dataset(config: Row) -> Any:
    """The data of a work, binarised alike for all rows."""
    from tinyvae.data import load

    return load(config["work"]).binarised(0)


def trained(config: Row, root: Path) -> tuple[Any, Row]:
    """The model of a configuration and its row; trained and judged if it is not there yet."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    folder = root / name_of(config)
    model, known = made(config, config["prior"]), folder / "row.json"
    if known.exists():
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        return model, json.loads(known.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    data, fitted = dataset(config), config["prior"].startswith("fitted")
    model, spent = fit_after(config, root, data) if fitted else train(config, folder, data)
    row, per_image = judge(model, config, data)
    np.save(folder / "log_p.npy", per_image)
    save_file(model.state_dict(), folder / "weights.safetensors")
    row |= {"train_s": spent}
    known.write_text(json.dumps(row, indent=1) + "\n")
    print(f"{folder.name}: log p {row['log_p']:.2f}, {spent:.0f} s", file=sys.stderr)
    return model, row


def name_of(config: Row) -> str:
    """A folder for each row; whatever its results rest on is in the name."""
    settings = "-".join(f"{value:g}" for value in config["settings"].values())
    judged = f"{config['images']}-{config['samples']}"
    prior = config["prior"].replace(":", "-")
    return f"{config['work']}-{settings}-{judged}-{prior}-seed-{config['seed']}"


def train(config: Row, folder: Path, data: Any) -> tuple[Any, float]:
    """The model and the seconds that it took; an interrupted training goes on."""
    import tinyvae as tv

    model, checkpoint = made(config, config["prior"]), folder / "checkpoint.safetensors"
    settings = config["settings"] | {"seed": config["seed"]}
    resume = {"checkpoint": checkpoint, "resume": checkpoint.exists()}
    return model, seconds(lambda: tv.fit(model, data.train, **settings, **resume))


def fit_after(config: Row, root: Path, data: Any) -> tuple[Any, float]:
    """The model of the standard normal with a prior fitted to its codes, and the seconds of it."""
    import tinyvae as tv

    model, _ = trained(config | {"prior": "normal"}, root)
    count = int(config["prior"].partition(":")[2])
    start = seconds(lambda: setattr(model, "prior", tv.fit_prior(model, data.train.images, count)))
    return model, start


def judge(model: Any, config: Row, data: Any) -> tuple[Row, Any]:
    """The row, and log p of each image."""
    import tinyvae as tv

    test = data.test[: config["images"]]
    found, elbo = tv.log_likelihood(model, test, config["samples"]), tv.evaluate(model, test)
    row = {"work": config["work"], "prior": config["prior"], "seed": config["seed"]}
    row |= {"log_p": found.mean, "error": found.standard_error}
    return row | {"elbo": -elbo.loss, "kl": elbo.kl}, found.per_image


# The table


def gains(configs: list[Row], root: Path) -> list[Row]:
    """Of each prior over the standard normal."""
    priors = list(dict.fromkeys(config["prior"] for config in configs))
    return [gain(p, [c for c in configs if c["prior"] == p], root) for p in priors if p != "normal"]


def gain(prior: str, configs: list[Row], root: Path) -> Row:
    """Of one prior: its mean over the seeds, and how sure that is."""
    import numpy as np

    each, errors = [], []
    for config in configs:
        mine, other = (
            np.load(root / name_of(config | {"prior": p}) / "log_p.npy") for p in (prior, "normal")
        )
        each.append(float((mine - other).mean()))
        errors.append(float((mine - other).std(ddof=1) / math.sqrt(len(mine))))
    mean, half = statistics.mean(each), half_interval(each)
    row = {"prior": prior, "gain": mean, "low": mean - half, "high": mean + half}
    row = row if len(each) > 1 else row | {"low": None, "high": None}
    return row | {"image_error": max(errors), "seeds": " ".join(f"{value:.2f}" for value in each)}


def main() -> None:
    """Row by row, the seeds one after another."""
    options = parser(__doc__)
    options.add_argument("--work", choices=WORKS, default="digits")
    options.add_argument("--priors", nargs="+", help="default: those of the work")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--epochs", type=int, help="default: those of the work")
    options.add_argument("--images", type=int, help="test images that are judged")
    options.add_argument("--samples", type=int, default=1000, help="for each of them")
    chosen = options.parse_args()
    out = chosen.out or FOLDER / "results" / f"priors_{chosen.work}.json"
    configs, root = configurations(chosen), out.parent / "priors"
    rows = [trained(config, root)[1] for config in configs]
    found = gains(configs, root)
    chosen.out = out
    least = WORKS[chosen.work]["promised"]
    floors = [floor(f"gain of {row['prior']}", [row["gain"]], math.inf, least) for row in found]
    report("priors", chosen, rows=rows, gains=found, floors=floors)
    if chosen.work == "digits":
        draw(configs, root, out.with_suffix(".png"))


def configurations(chosen: Namespace) -> list[Row]:
    """One for each row; the standard normal is always there, to be compared with."""
    work = WORKS[chosen.work]
    settings = work["settings"] | ({"epochs": chosen.epochs} if chosen.epochs else {})
    settings["warm_up"] = min(settings["warm_up"], settings["epochs"])
    about = {"work": chosen.work, "network": work["network"], "settings": settings}
    about |= {"images": chosen.images or work["images"], "samples": chosen.samples}
    priors = list(dict.fromkeys(["normal", *(chosen.priors or work["priors"])]))
    return [about | {"prior": p, "seed": seed} for seed in chosen.seeds for p in priors]


def draw(configs: list[Row], root: Path, path: Path) -> None:
    """The picture of the first seed."""
    from priors_picture import picture

    from tinyvae.plots.style import save

    first = [config for config in configs if config["seed"] == configs[0]["seed"]]
    models = {config["prior"]: trained(config, root)[0] for config in first}
    save(picture(models, dataset(first[0]).test), path)


if __name__ == "__main__":
    run(main)
