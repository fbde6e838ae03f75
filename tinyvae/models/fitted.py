"""A prior fitted to the codes of a model that is trained."""

from __future__ import annotations

from typing import Any

from tinyvae import backend as backends
from tinyvae.autograd import no_grad
from tinyvae.distributions.posteriors import drawn
from tinyvae.distributions.priors import Fitted
from tinyvae.errors import DataError, MissingExtraError
from tinyvae.models.vae import VAE
from tinyvae.noise import Noise


def fit_prior(model: VAE, images: Any, components: int = 10, seed: int = 0) -> Fitted:
    """A Gaussian mixture fitted to the codes of images: ``model.prior = fit_prior(...)``.

    Nothing else of the model changes. Of all priors, the mean of q(z | x) over the images has the
    least KL on them (Hoffman and Johnson, 2016); this is a mixture's estimate of it, by
    expectation and maximisation on one code from each q(z | x).

    Parameters
    ----------
    model : VAE
        Trained; with the prior ``"normal"``, or with ``"fitted:M"``, where a run has a place to
        keep the result.
    images : array
        Those that it was trained on, of shape (N, *image_shape).
    components : int
        M, of the mixture.
    seed : int
        Of the codes, and of the first components.

    Raises
    ------
    DataError
        Fewer images than components.
    MissingExtraError
        scikit-learn is not installed.

    Examples
    --------
    >>> import tinyvae as tv
    >>> images = tv.Noise(0).uniform((20, 2, 2))
    >>> model = tv.VAE((2, 2), hidden=(4,))
    >>> model.prior = fit_prior(model, images, components=2)
    >>> model.prior.means.shape
    (2, 2)
    """
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise MissingExtraError("fit_prior needs scikit-learn: pip install scikit-learn") from error
    check_enough(images, components)
    found = GaussianMixture(components, covariance_type="diag", random_state=seed)
    found.fit(_codes(model, images, seed))
    prior = Fitted(model.latent, 0, Noise(seed), components).to(model.backend, model.dtype)
    prior.take(*(_log(found.weights_), found.means_, _log(found.covariances_)))
    return prior


def check_enough(images: Any, components: int) -> None:
    """Refuse, with DataError, fewer images than components."""
    if len(images) < components:
        raise DataError(
            f"{components:,} components are fitted to as many images or more, not to "
            f"{len(images):,}: take fewer components, as in 'fitted:10'"
        )


def _codes(model: VAE, images: Any, seed: int) -> Any:
    """A code from q(z | x) for each image, (N, K), on the host."""
    noise, q = Noise(seed, "fit_prior", backend=model.backend), model.posterior
    with no_grad():
        batches = (model.encode(x) for x in model.chunks(images))
        parts = [q.sample(p, drawn(q, noise, p[0].shape[:1], model.dtype)) for p in batches]
    return backends.get("numpy").xp.concatenate([part.numpy() for part in parts])


def _log(values: Any) -> Any:
    return backends.get("numpy").xp.log(values)
