"""Further densities, samplers and divergences: one file a distribution.

Each sums over the last axis, as in `tinyvae.autograd.derivations`, and gives nats; `log_scale`
is the log of the scale, and so log sigma + a constant. Samplers take noise from [0, 1).
"""

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
from tinyvae.autograd.densities.pixels import (
    continuous_bernoulli_cross_entropy,
    discretised_logistic_cross_entropy,
)
from tinyvae.autograd.densities.uniform import (
    kl_uniform_standard_normal,
    uniform_log_likelihood,
    uniform_sample,
)

__all__ = [
    "continuous_bernoulli_cross_entropy",
    "discretised_logistic_cross_entropy",
    "kl_laplace_standard_normal",
    "kl_logistic_standard_normal",
    "kl_uniform_standard_normal",
    "laplace_log_likelihood",
    "laplace_sample",
    "logistic_log_likelihood",
    "logistic_sample",
    "uniform_log_likelihood",
    "uniform_sample",
]
