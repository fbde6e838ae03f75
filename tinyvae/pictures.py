"""What a trained model shows of itself: each picture that the command line writes, as a figure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure

from tinyvae import plots
from tinyvae.autograd import no_grad
from tinyvae.data import Dataset
from tinyvae.data.dataset import Split
from tinyvae.errors import DataError, OptionError
from tinyvae.evaluation.elbo import elbo
from tinyvae.latent import Leakage, Readers, attribute_walk, between, decoded, leakage
from tinyvae.latent import traversals as codes_of_traversals
from tinyvae.latent.walks import KINDS, Smooth, smooth
from tinyvae.models.vae import VAE
from tinyvae.noise import Noise
from tinyvae.training import Row

DRAWN = 10_000  # codes of which the quantiles are those of a prior
READ, WALKED = 8000, 200  # images from which factors are learnt to be read, and that walk
SHOWN = 2000  # images in the picture of the latent space
COMPARED = 20_000  # training images among which the nearest to a frame is looked for
WIDEST = 2000  # pixels of a picture; large images are fewer, so that it fits into memory


def every(model: VAE, dataset: Dataset, history: list[Row]) -> Iterator[tuple[str, Figure]]:
    """Every picture that a run has when it ends, with its name, drawn one after the other."""
    yield "curves", plots.curves(history)
    yield "samples", samples(model, _side(10, model) ** 2)
    yield "reconstructions", reconstructions(model, dataset)
    yield "latent", latent(model, dataset)
    yield "manifold", manifold(model, dataset)


def samples(model: VAE, count: int = 100, seed: int = 0) -> Figure:
    """Images from the prior."""
    return plots.images(model.sample(count, seed), title="Samples")


def reconstructions(model: VAE, dataset: Dataset, count: int = 20) -> Figure:
    """Test images, and what the model makes of them."""
    images = np.asarray(_first(dataset.test, count).images)
    columns = max(10, math.ceil(math.sqrt(len(images))))
    return plots.reconstructions(
        images,
        model.reconstruct(images),
        columns=min(columns, len(images)),
        title="Reconstructions of test images",
    )


def interpolation(
    model: VAE, dataset: Dataset, rows: int = 6, steps: int = 11, kind: str = "linear"
) -> Figure:
    """Walks from one test image to another: of a kind of `tinyvae.latent.between`, or "each"."""
    frames = walks(model, dataset, rows, steps, kind)
    names = KINDS * (len(frames) // len(KINDS)) if kind == "each" else None
    return plots.interpolation(frames, rows=names, title="From one test image to another")


def walks(
    model: VAE, dataset: Dataset, rows: int = 6, steps: int = 11, kind: str = "linear"
) -> np.ndarray:
    """The frames of `interpolation`, (P, S, H, W) or (P, S, H, W, 3)."""
    rows = min(rows, len(dataset.test) // 2)
    if rows < 1:
        raise DataError(f"a walk leads from one test image to another; {dataset.name} has only 1")
    ends = np.asarray(_first(dataset.test, 2 * rows).images)
    if kind not in (*KINDS, "each"):
        raise OptionError(f"a walk is one of {', '.join(KINDS)}, or each, not {kind!r}")
    kinds = KINDS if kind == "each" else (kind,)
    found = [between(model, ends[::2], ends[1::2], one, steps) for one in kinds]
    return np.stack(found, axis=1).reshape(-1, *found[0].shape[1:])


def smoothness_of_walks(
    model: VAE, dataset: Dataset, rows: int = 6, steps: int = 11
) -> dict[str, Smooth]:
    """How smooth each kind of walk is, and how far from the data, over the same test images."""
    frames = walks(model, dataset, rows, steps, "each")
    train = _first(dataset.train, COMPARED).images
    return {kind: smooth(model, frames[k :: len(KINDS)], train) for k, kind in enumerate(KINDS)}


def traversals(model: VAE, dataset: Dataset, rows: int = 12, steps: int = 11) -> Figure:
    """Each latent dimension walked over quantiles of the prior, from the code of a test image.

    The dimension that is used most comes first; beside each stands how much.
    """
    use, unit = _use(model, dataset)
    chosen = np.argsort(-use)[:rows]
    values = _quantiles(model, steps)  # (S, K)
    code = model.embed(_first(dataset.test, 1).images)[0][0]
    walks = np.stack([codes_of_traversals(code, values[:, k])[k] for k in chosen])
    same = np.ptp(values, axis=1).max() == 0
    return plots.interpolation(
        decoded(model, walks),
        rows=[f"$z_{{{k + 1}}}$, {use[k]:.2f} {unit}" for k in chosen],
        columns=_signed(values[:, 0]) if same else None,
        title="Traversals of a test image over quantiles of the prior",
    )


def attribute(
    model: VAE, dataset: Dataset, name: str, rows: int = 6, steps: int = 9
) -> tuple[Figure, np.ndarray]:
    """Test images with one attribute changed, as a strip and as frames (P, S, ...)."""
    frames, values = attribute_walk(model, dataset, name, _first(dataset.test, rows), steps)
    what = name.replace("_", " ") if dataset.factor_names else f"class {name}"
    title = f"Test images walked along: {what}"
    return plots.interpolation(frames, columns=_signed(values), title=title), frames


def _signed(values: np.ndarray) -> list[str]:
    return [f"{value:.2f}".replace("-", "−") for value in values]


def latent(model: VAE, dataset: Dataset) -> Figure:
    """The posterior means of up to 2,000 images, the test images first.

    Their colours are the classes; or, where the labels are factors, the one that a linear
    function of the means tells best.
    """
    parts = [_first(dataset.test, SHOWN)]
    if rest := SHOWN - len(parts[0]):
        parts.append(_first(dataset.train, rest))
    means = np.concatenate([model.embed(part.images)[0] for part in parts])
    labels, name = _labels(parts), ""
    if labels is not None and dataset.factor_names:
        best = _best_told(means, labels)
        labels, name = labels[:, best], dataset.factor_names[best]
    title = f"Latent space: the posterior means of {len(means):,} images"
    return plots.latent(means, labels, factor_name=name.replace("_", " "), title=title)


def leakage_of_walk(model: VAE, dataset: Dataset, name: str) -> tuple[Leakage, np.ndarray]:
    """How much every factor moves in walks of one, and how well each can be read at all, R^2.

    It is read by regressors that are trained on the training images and their true factors, from
    walks of 200 test images.
    """
    if not dataset.factor_names:
        raise DataError(
            f"leakage is how much other factors move, and {dataset.name} has classes, not factors: "
            "use faces or sprites"
        )
    assert dataset.train.labels is not None
    assert dataset.test.labels is not None
    circular = [k for k, factor in enumerate(dataset.factor_names) if factor == "background"]
    train, shown = _first(dataset.train, READ), _first(dataset.test, WALKED)
    frames, _ = attribute_walk(model, dataset, name, shown, 2)  # its ends
    readers = Readers(train.images, dataset.train.labels[:READ], circular, epochs=20)
    read = readers(frames.reshape(-1, *dataset.image_shape)).reshape(*frames.shape[:2], -1)
    scale = dataset.train.labels.std(axis=0)
    found = leakage(read, dataset.factor_names.index(name), scale, circular)
    return found, readers.r2(dataset.test.images, dataset.test.labels)


def _labels(parts: list[Split]) -> np.ndarray | None:
    labels = [part.labels for part in parts if part.labels is not None]
    return np.concatenate(labels) if len(labels) == len(parts) else None


def _best_told(means: np.ndarray, factors: np.ndarray) -> int:
    """The factor of which least squares on the means explains the largest share, by R^2."""
    inputs = np.column_stack([means, np.ones(len(means))])  # (N, K + 1)
    residues = factors - inputs @ np.linalg.lstsq(inputs, factors)[0]  # (N, F)
    return int(np.argmin(residues.var(axis=0) / np.maximum(factors.var(axis=0), 1e-12)))


def manifold(model: VAE, dataset: Dataset, side: int | None = None) -> Figure:
    """Decoded codes on a grid of the prior's quantiles, in the two dimensions most used."""
    side = side or _side(21, model)
    used = _most_used(model, dataset)
    plane, rest = len(used) == 2, model.latent > 2
    values = _quantiles(model, side)  # (S, K)
    z = np.zeros((side if plane else 1, side, model.latent), dtype=np.float32)
    z[:, :] = np.median(values, axis=0)
    x, y = values[:, used[0]], values[::-1, used[-1]]  # upwards is more
    z[:, :, used[0]] = x
    if plane:
        z[:, :, used[1]] = y[:, None]
    images = model.generate(z.reshape(-1, model.latent))
    title = "Manifold: decoded quantiles of the prior" + ", the others at their medians" * rest
    figure = plots.manifold(images, side, x=x, y=y if plane else None, title=title)
    for way, dimension in zip("xy", used, strict=False):
        figure.axes[0].set(**{f"{way}label": f"$z_{{{dimension + 1}}}$"})
    return figure


def _side(most: int, model: VAE) -> int:
    """How many images go side by side: no more than are wanted, or than there is room for."""
    return max(3, min(most, WIDEST // max(model.image_shape[:2])))


def _most_used(model: VAE, dataset: Dataset) -> list[int]:
    """The two latent dimensions that are used most, in their order; the only one if K is 1."""
    return sorted(np.argsort(_use(model, dataset)[0])[::-1][:2].tolist())


def _use(model: VAE, dataset: Dataset) -> tuple[np.ndarray, str]:
    """How much each latent dimension tells of test images, (K,), and in what unit.

    It is the KL in nats; where that does not come apart, the variance of the posterior means.
    """
    shown = _first(dataset.test, SHOWN)
    if nats := elbo(model, shown).kl_per_dimension:
        return np.array(nats), "nats"
    return model.embed(shown.images)[0].var(axis=0), "variance"


def _quantiles(model: VAE, count: int) -> np.ndarray:
    """So many quantiles of each latent dimension under the prior, evenly spaced, (count, K)."""
    levels = (np.arange(count) + 0.5) / count
    if model.prior.is_standard:
        normal = [NormalDist().inv_cdf(level) for level in levels]
        return np.repeat(np.array(normal)[:, None], model.latent, axis=1)
    with no_grad():
        drawn = model.prior.sample(DRAWN, Noise(0, "quantiles", backend="numpy"), model.encode)
    found: np.ndarray = np.quantile(drawn, levels, axis=0)
    return found


def _first(split: Split, count: int) -> Split:
    if count < 1:
        raise OptionError(f"the number of images is from 1 up, not {count}")
    return split[:count]
