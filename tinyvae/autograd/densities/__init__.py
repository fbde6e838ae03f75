"""Further densities, samplers and divergences: one file a distribution.

Each sums over the last axis, as in `tinyvae.autograd.derivations`, and gives nats. `log_scale`
is the log of the scale: log sigma less a constant; samplers by a scale take noise from [0, 1).
"""

from tinyvae.autograd.densities.cholesky import (
    cholesky_log_likelihood,
    cholesky_sample,
    kl_cholesky_standard_normal,
)
from tinyvae.autograd.densities.laplace import (
    kl_laplace_standard_normal,
    laplace_log_likelihood,
    laplace_sample,
)
from tinyvae.autograd.densities.logistic import (
    kl_logistic_standard_normal,
    logistic_log_likelihood,
    logistic_sample,
)
from tinyvae.autograd.densities.mixture import mixture_log_likelihood
from tinyvae.autograd.densities.pixels import (
    categorical_cross_entropy,
    continuous_bernoulli_cross_entropy,
    discretised_logistic_cross_entropy,
)
from tinyvae.autograd.densities.uniform import (
    kl_uniform_standard_normal,
    uniform_log_likelihood,
    uniform_sample,
)

__all__ = [
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
]
