"""An evaluation in words: a table of its figures, and what to know of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tinyvae.models.vae import VAE

if TYPE_CHECKING:
    from tinyvae.evaluation.likelihood import LogLikelihood
    from tinyvae.evaluation.quality import Quality
    from tinyvae.evaluation.report import Evaluation
    from tinyvae.evaluation.surgery import Surgery

COLLAPSED = 0.01  # nats below which a latent dimension says nothing
FEW = 10  # effective samples below which an estimate of log p(x) is not to be trusted
MEND = "try a smaller beta, a warm-up, or, where the KL comes apart into dimensions, free bits"
LITTLE = 0.5  # nats of mutual information below which codes tell almost nothing
Row = tuple[str, str, str]


def rows(result: Evaluation) -> list[Row]:
    """What was measured, its value, and how to read it; in nats per image where none is named."""
    found = [*_elbo(result)]
    if result.surgery:
        found += _surgery(result.surgery, result.images)
    if result.log_likelihood:
        found += _likelihood(result.log_likelihood)
    if result.quality:
        found += _quality(result.quality)
    return found


def _elbo(result: Evaluation) -> Iterator[Row]:
    yield "images", f"{result.images:,}", result.split
    how = "analytic" if result.is_analytic else "Monte Carlo, one code an image"
    about = {"loss": "-ELBO", "reconstruction": "-log p(x | z)", "kl": f"KL ({how})"}
    for name, title in about.items():
        yield title, f"{getattr(result, name):.3f}", f"± {result.standard_errors[name]:.3f}"
    if result.entropy_floor:
        yield "entropy floor", f"{result.entropy_floor:.3f}", "of grey pixels under a Bernoulli"
    if result.bits_per_dimension is not None:
        yield "bits per dimension", f"{result.bits_per_dimension:.4f}", "the -ELBO"
    yield "active units", f"{result.active_units}", "posterior means vary by more than 0.01"


def _surgery(parts: Surgery, images: int) -> Iterator[Row]:
    ceiling = f"± {parts.standard_error:.3f}, at most {parts.ceiling:.3f}"
    if parts.images < images:
        ceiling += f"; of the first {parts.images:,} images"
    yield "KL: mutual information", f"{parts.mutual_information:.3f}", ceiling
    yield "KL: marginal KL", f"{parts.marginal_kl:.3f}", "from the aggregate posterior to the prior"
    if parts.total_correlation is not None:
        yield "- total correlation", f"{parts.total_correlation:.3f}", "between the dimensions"
        yield "- dimensions", f"{sum(parts.dimension_kl):.3f}", "of each to its own prior"


def _likelihood(found: LogLikelihood) -> Iterator[Row]:
    effective = f"median effective samples {np.median(found.effective_samples):.0f}"
    yield "log p(x)", f"{found.mean:.3f}", f"± {found.standard_error:.3f} of the codes; {effective}"


def _quality(found: Quality) -> Iterator[Row]:
    for name, value in vars(found.samples).items():
        floor, better = getattr(found.floor, name), "less" if name == "frechet" else "more"
        about = f"{better} is better; real images held to {found.count:,} others: {floor:.3f}"
        yield f"samples: {name}", f"{value:.3f}", about
    yield "network's accuracy", f"{found.accuracy:.3f}", "on the test images' labels"


# Notes


def notes(result: Evaluation, model: VAE) -> list[str]:
    """What to know of the figures, in sentences; none where there is nothing to say."""
    said = [
        _collapse(result, model.latent) or _little(result.surgery),
        _pixels(result, model),
        _ceiling(result.surgery),
    ]
    if not model.posterior.has_density:
        name = type(model.posterior).__name__
        said += [
            f"{name} has a density at its own codes alone, so there is no mutual information and "
            "no marginal KL"
        ]
    said += [_support(result.log_likelihood, model), _weights(result.log_likelihood)]
    return [sentence for sentence in said if sentence]


def _collapse(result: Evaluation, latent: int) -> str:
    """Whether latent dimensions carry nothing, and what to try."""
    if not result.kl_per_dimension:
        still = latent - result.active_units
        what = "have a posterior mean that is nearly the same for all images"
    else:
        still = sum(kl < COLLAPSED for kl in result.kl_per_dimension)
        what = f"carry less than {COLLAPSED} nats"
    if not still:
        return ""
    return f"{still} of {latent} dimensions {what}: the posterior has collapsed there; {MEND}"


def _little(parts: Surgery | None) -> str:
    """Whether the codes tell the images apart at all, however large the KL is."""
    if parts is None or parts.mutual_information > min(LITTLE, 0.1 * parts.ceiling):
        return ""
    return (
        f"the codes have {parts.mutual_information:.2f} nats of mutual information with the "
        "images, so the decoder draws nearly the same for all of them: train for longer, or "
        f"{MEND}"
    )


def _pixels(result: Evaluation, model: VAE) -> str:
    """What kind of number the loss is."""
    if model.likelihood.kind == "density":
        return (
            "the pixels have a density, so the loss is no code length and may be negative: pixels "
            "that are stored in 256 levels would have to be dequantised (uniform noise of a "
            "level's width added) before bits per dimension mean anything"
        )
    if result.entropy_floor:
        return (
            f"the pixels are neither black nor white, and a Bernoulli's cross-entropy with them is "
            f"{result.entropy_floor:.2f} nats at least, their entropy: compare the figures with "
            "those of such pixels alone, or binarise"
        )
    return ""


def _ceiling(parts: Surgery | None) -> str:
    if parts is None or parts.mutual_information < 0.95 * parts.ceiling:
        return ""
    return (
        f"the mutual information is near log N = {parts.ceiling:.2f}, the most that N images can "
        "show: the codes tell them all apart, and of more images it would be higher and the "
        "marginal KL lower"
    )


def _support(found: LogLikelihood | None, model: VAE) -> str:
    if found is None or model.posterior.has_score:
        return ""
    return (
        f"{type(model.posterior).__name__} draws no code beyond its edges, so log p(x) lacks what "
        "lies there: it is a lower bound, however many samples there are"
    )


def _weights(found: LogLikelihood | None) -> str:
    if found is None or not (few := int((found.effective_samples < FEW).sum())):
        return ""
    return (
        f"for {few:,} of {len(found.per_image):,} images log p(x) rests on fewer than {FEW} "
        "effective samples, and is too low: take more samples"
    )
