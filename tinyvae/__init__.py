"""Variational autoencoders from scratch: every gradient derived by hand, checked, trained with.

>>> import tinyvae as tv
>>> x = tv.Tensor([1.0, 2.0], requires_grad=True)
>>> tv.sum(tv.exp(x)).backward()
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each public name lives; it is imported when it is first used, so that
# `import tinyvae` stays about as quick as `import numpy`.
# fmt: off
_HOMES = {
    "tinyvae.backend": ("Backend", "use"),
    "tinyvae.autograd": ("Replay", "Tensor", "no_grad", "op"),
    "tinyvae.checker": ("GradientReport", "gradcheck"),
    "tinyvae.autograd.ops": (
        "abs", "add", "affine", "affine_relu", "astype", "broadcast_to", "concatenate", "divide",
        "elu", "exp", "gelu", "getitem", "leaky_relu", "log", "log_softmax", "logsumexp", "matmul",
        "max", "maximum", "mean", "multiply", "negative", "power", "relu", "reshape", "sigmoid",
        "softmax", "softplus", "split", "sqrt", "stack", "subtract", "sum", "tanh", "transpose",
    ),
    "tinyvae.autograd.derivations": (
        "bernoulli_cross_entropy",
        "gaussian_log_likelihood",
        "gaussian_sample",
        "importance_bound",
        "kl_gaussian",
        "kl_standard_normal",
    ),
    "tinyvae.autograd.densities": (
        "categorical_cross_entropy",
        "cholesky_log_likelihood",
        "cholesky_sample",
        "continuous_bernoulli_cross_entropy",
        "discretised_logistic_cross_entropy",
        "kl_cholesky_standard_normal",
        "kl_laplace_standard_normal",
        "kl_logistic_standard_normal",
        "kl_uniform_standard_normal",
        "laplace_log_likelihood",
        "laplace_sample",
        "logistic_log_likelihood",
        "logistic_sample",
        "mixture_log_likelihood",
        "uniform_log_likelihood",
        "uniform_sample",
    ),
    "tinyvae.noise": ("Noise",),
    "tinyvae.nn": ("MLP", "Dense", "Module", "Sequential"),
    "tinyvae.optim": ("SGD", "Adam", "AdamW", "RMSprop", "clip_global_norm"),
    "tinyvae.objectives": ("log_weights", "negative_elbo"),
    "tinyvae.models.fitted": ("fit_prior",),
    "tinyvae.models.beta_tcvae": ("BetaTCVAE",),
    "tinyvae.models.beta_vae": ("BetaVAE",),
    "tinyvae.models.capacity_vae": ("CapacityVAE",),
    "tinyvae.models.factor_vae": ("FactorVAE",),
    "tinyvae.models.vae": ("VAE",),
    "tinyvae.training": ("fit",),
    "tinyvae.evaluation.report": ("evaluate",),
    "tinyvae.evaluation.disentanglement": ("dci", "disentanglement_scores", "mig", "sap"),
    "tinyvae.evaluation.factor_votes": ("factor_vae_score", "groups_sharing"),
    "tinyvae.evaluation.likelihood": ("log_likelihood",),
    "tinyvae.latent": ("attribute_vector",),
    "tinyvae.evaluation.quality": ("sample_quality",),
    "tinyvae.plots": ("graph",),
}
# fmt: on
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_ROOMS = (
    "autograd",
    "backend",
    "checker",
    "checkpoint",
    "data",
    "distributions",
    "errors",
    "evaluation",
    "latent",
    "models",
    "nn",
    "noise",
    "objectives",
    "optim",
    "parallel",
    "plots",
    "testing",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"tinyvae.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'tinyvae' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, *_ROOMS, "__version__"])
