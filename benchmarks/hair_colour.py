"""Change the hair colour of faces and nothing else: how much every other factor moves.

A VAE is trained on drawn faces; `tinyvae.latent.Attributes` are fitted to the codes and factors of
the training faces; then held-out faces are walked from black hair to silver (0.05 to 0.95), with
all other factors held. What the frames show is read by regressors from images to factors that
know nothing of the model. Changes are in standard deviations of each factor in the data, as a share
of the hair colour's own change.

read_r2     how well the regressors read the factor off held-out images; below 0.5 it is not judged
drawn_r2    the same of the model's reconstructions of them: a factor that the model does not draw
            (below 0.5) has little that could leak, and the last table says so
each        |change| averaged over the faces: the headline; it holds what the regressors get wrong
mean        |average change|: what the walk does to the average face
+-          half the 95 % interval of each
farthest    as `each`, of the largest change on the way
floor       `each` of the perfect walk, drawn anew with another hair colour: the regressors' own
rebuilt     `each` of the perfect walk after the model has encoded and decoded its frames: what no
            walk in this model can be expected to beat

degrees     the largest `each` and `mean` among the other factors, by the degree of the polynomial;
            degree 1 is the attribute vector

The picture has for some faces the perfect walk above the model's; the GIF beside it moves.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from typing import Any

from harness import Row, floor, parser, report, run, seconds

MOVED, ENDS, STEPS = "hair_colour", (0.05, 0.95), 9
CIRCULAR = ("background",)
DEGREES = (1, 2, 3)
READABLE, ALLOWED = 0.5, 0.10
SHOWN = 6  # faces in the picture


def trained(faces: Any, chosen: argparse.Namespace) -> tuple[Any, float]:
    """The model, and the seconds that it took."""
    import tinyvae as tv

    with tv.use("numpy", kernels="numba" if find_spec("numba") else "numpy"):
        sizes = (faces.image_shape, chosen.latent, tuple(chosen.hidden))
        model = tv.VAE(*sizes, seed=chosen.seed, likelihood=chosen.likelihood)
        settings = {name: getattr(chosen, name) for name in ("epochs", "batch", "beta", "seed")}
        train_s = seconds(lambda: tv.fit(model, faces.train, callbacks=[told], **settings))
    return model, train_s


def told(progress: Any) -> None:
    """A line an epoch."""
    if progress.row:
        print(f"epoch {progress.epoch}: {progress.row['train_loss']:.1f} nats", file=sys.stderr)


class Judge:
    """What reads the frames of walks, and how much leaks in them."""

    def __init__(self, faces: Any, chosen: argparse.Namespace) -> None:
        from tinyvae.latent import Readers

        self.circular = [faces.factor_names.index(name) for name in CIRCULAR]
        self.moved = faces.factor_names.index(MOVED)
        self.scale = faces.train.labels.std(axis=0)
        self.readers = Readers(
            faces.train.images,
            faces.train.labels,
            self.circular,
            chosen.seed,
            chosen.reader_epochs,
        )

    def leakage(self, frames: Any) -> Any:
        """Of walks (P, S, H, W, 3)."""
        from tinyvae.latent import leakage

        read = self.readers(frames.reshape(-1, *frames.shape[2:])).reshape(*frames.shape[:2], -1)
        return leakage(read, self.moved, self.scale, self.circular)


def perfect(factors: Any, moved: int, values: Any) -> Any:
    """The faces drawn anew with another hair colour, (P, S, H, W, 3)."""
    import numpy as np

    from tinyvae.data.faces import draw

    walks = np.repeat(factors[:, None], len(values), axis=1)
    walks[:, :, moved] = values
    return draw(walks.reshape(-1, factors.shape[1])).reshape(*walks.shape[:2], 32, 32, 3)


def walked(model: Any, faces: Any, held_out: Any, judge: Judge, values: Any) -> dict[int, Any]:
    """For each degree the frames of the walks, (P, S, H, W, 3)."""
    from tinyvae.latent import Attributes, decoded

    codes, starts = (model.embed(part.images)[0] for part in (faces.train, held_out))
    frames = {}
    for degree in DEGREES:
        fitted = Attributes.fit(codes, faces.train.labels, degree, judge.circular)
        frames[degree] = decoded(model, fitted.walk(starts, held_out.labels, judge.moved, values))
    return frames


def rows_of(names: Any, read: Any, drawn: Any, found: Any, least: Any, rebuilt: Any) -> list[Row]:
    """A row a factor."""
    columns = zip(
        *(names, read, drawn, found.each, found.each_interval),
        *(found.mean, found.mean_interval, found.farthest, least.each, rebuilt.each),
        strict=True,
    )
    keys = ("read_r2", "drawn_r2", "each", "each +-", "mean", "mean +-")
    keys += ("farthest", "floor", "rebuilt")
    return [
        {"factor": name} | dict(zip(keys, map(float, rest), strict=True)) for name, *rest in columns
    ]


def by_degree(found: dict[int, Any], names: Any, moved: int) -> list[Row]:
    """The worst of the other factors, for each degree."""
    others = [k for k in range(len(names)) if k != moved]
    rows = []
    for degree, leak in found.items():
        row: Row = {"degree": degree, "moved": leak.moved}
        for kind in ("each", "mean"):
            worst = max(others, key=getattr(leak, kind).__getitem__)
            row |= {kind: float(getattr(leak, kind)[worst]), f"in {kind}": names[worst]}
        rows.append(row)
    return rows


def floors(rows: list[Row]) -> list[Row]:
    """What is promised of every factor that can be read."""
    others = [row for row in rows if row["factor"] != MOVED and row["read_r2"] >= READABLE]
    return [floor(_told(row), [row["each"]], ALLOWED) for row in others]


def _told(row: Row) -> str:
    return row["factor"] + " (not drawn)" * (row["drawn_r2"] < READABLE)


def drawn(out: Any, names: list[str], real: Any, frames: Any, values: Any) -> None:
    """The picture and the GIF."""
    import numpy as np

    from tinyvae import plots

    pairs = np.stack([real / np.float32(255), frames], axis=1)[:SHOWN]  # (P, 2, S, ...)
    strips = pairs.reshape(-1, *frames.shape[1:])
    plots.save(
        plots.interpolation(
            strips,
            rows=names * (len(strips) // 2),
            columns=[f"{value:.2f}" for value in values],
            title="Hair colour, and nothing else: faces drawn anew, and walked by the model",
        ),
        out.with_suffix(".png"),
    )
    plots.animate(frames[:9], out.with_suffix(".gif"))


def main() -> None:
    """Train, walk, read, tell."""
    chosen = options().parse_args()
    import numpy as np

    from tinyvae.data import faces as drawn_faces
    from tinyvae.evaluation.elbo import elbo

    faces = drawn_faces.load(count=chosen.count, seed=chosen.seed)
    model, train_s = trained(faces, chosen)
    print(f"trained in {train_s:.0f} s; now the regressors", file=sys.stderr)
    judge, held_out = Judge(faces, chosen), faces.test[: chosen.faces]
    values = np.linspace(*ENDS, STEPS)
    real = perfect(held_out.labels, judge.moved, values)
    flat = real.reshape(-1, *faces.image_shape)
    rebuilt = judge.leakage(model.reconstruct(flat).reshape(real.shape))
    frames = walked(model, faces, held_out, judge, values)
    found = {degree: judge.leakage(walk) for degree, walk in frames.items()}
    read = judge.readers.r2(faces.test.images, faces.test.labels)
    redrawn = judge.readers.r2(model.reconstruct(faces.test.images), faces.test.labels)
    names = faces.factor_names
    rows = rows_of(names, read, redrawn, found[chosen.degree], judge.leakage(real), rebuilt)
    degrees = by_degree(found, names, judge.moved)
    training = [{"train_s": train_s, "elbo": elbo(model, faces.test).loss}]
    tables = {"degrees": degrees, "training": training, "floors": floors(rows)}
    out = report("hair_colour", chosen, rows=rows, **tables)
    drawn(out, ["drawn", "walked"], real, frames[chosen.degree], values)


def options() -> argparse.ArgumentParser:
    """Those of the model, the data and the measure."""
    made = parser(__doc__)
    made.add_argument("--count", type=int, default=20_000, help="faces in all")
    made.add_argument("--faces", type=int, default=1000, help="held-out faces that are walked")
    made.add_argument("--latent", type=int, default=32)
    made.add_argument("--hidden", type=int, nargs="+", default=[512, 256])
    made.add_argument("--epochs", type=int, default=20)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--beta", type=float, default=1.0)
    made.add_argument("--likelihood", default="bernoulli")
    made.add_argument("--degree", type=int, choices=DEGREES, default=3)
    made.add_argument("--reader-epochs", type=int, default=30)
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    run(main)
