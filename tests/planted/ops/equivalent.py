"""Changes that are no errors, each with its reason: all that is left out of the planted errors."""

from __future__ import annotations

SUBGRADIENT = "another gradient where numbers tie; the tests of the ops at their edges refuse it"
BELOW_ROUNDING = "the innermost terms of the series are at most 2^26 / 26!, below rounding"
LIMIT = "where two formulas of the same number meet; both are good to rounding there"
SAME = "the same number"
LAST_OF_TWO = "the last axis of two"
ONE_DTYPE = "the two are of one dtype"
ONE_SHAPE = "the two are of one shape and dtype"
UNIFORM_PULLBACKS = (
    "(lambda _: xp.zeros_like(x), lambda _: xp.zeros_like(x), "
    "lambda g: xp.broadcast_to(-g[..., None], x.shape))"
)

EQUIVALENT: dict[str, str] = {
    "maximum: g / 2 -> g": SUBGRADIENT,
    "maximum: 2 -> 1": SUBGRADIENT,
    "maximum: g * 0 -> 0": SAME,
    "max: _kept(g, x, axis) * first / xp.sum(first, axis=axis, keepdims=True)"
    " -> _kept(g, x, axis) * first": SUBGRADIENT,
    "max: _kept(g, x, axis) * first / xp.sum(first, axis=axis, keepdims=True)"
    " -> _kept(g, x, axis) * first * xp.sum(first, axis=axis, keepdims=True)": SUBGRADIENT,
    "elu: 0 -> 1": "the branch that is not taken for x > 0, kept from overflow all the same",
    "getitem: _on_backend(index, x) if picks else index"
    " -> index if picks else _on_backend(index, x)": "host lists and arrays serve on the host",
    "kl_standard_normal: in excess: 2 -> 1": LIMIT,
    "kl_standard_normal: in excess: 1 -> 2": LIMIT,
    "kl_standard_normal: in excess: near * 0 + 1 -> near * 0 - 1": BELOW_ROUNDING,
    "kl_standard_normal: in excess: near * 0 + 1 -> near * 0": BELOW_ROUNDING,
    "kl_standard_normal: in excess: near * 0 + 1 -> 1": SAME,
    "kl_standard_normal: in excess: near * 0 -> near": BELOW_ROUNDING,
    "kl_standard_normal: in excess: near * 0 -> 0": SAME,
    "kl_standard_normal: in excess: 0 -> 1": BELOW_ROUNDING,
    "kl_standard_normal: in excess: 1 -> 2'": BELOW_ROUNDING,
    "kl_standard_normal: in excess: x -> surplus'": ONE_DTYPE,
    "kl_standard_normal: in excess: 16 -> 17": "one more term of the series, in float32",
    "kl_standard_normal: in excess: 26 -> 27": BELOW_ROUNDING,
    "kl_gaussian: 2 -> 1": LIMIT,
    "mixture_log_likelihood: -1 -> 1'": LAST_OF_TWO,
    "mixture_log_likelihood: -1 -> 1''": LAST_OF_TWO,
    "categorical_cross_entropy: logits -> levels'''": ONE_DTYPE,
    "categorical_cross_entropy: low * 0 -> 0": SAME,
    "continuous_bernoulli_cross_entropy: 4 -> 5'": LIMIT,
    "continuous_bernoulli_cross_entropy: 0 -> 1": "where it is asked for, logits are beyond 4",
    "continuous_bernoulli_cross_entropy: in _sinch_less_one: x * 0 -> x": BELOW_ROUNDING,
    "continuous_bernoulli_cross_entropy: in _sinch_less_one: x * 0 -> 0": SAME,
    "continuous_bernoulli_cross_entropy: in _sinch_less_one: 0 -> 1": BELOW_ROUNDING,
    "continuous_bernoulli_cross_entropy: in _sinch_less_one: x * 0 -> x'": BELOW_ROUNDING,
    "continuous_bernoulli_cross_entropy: in _sinch_less_one: x * 0 -> 0'": SAME,
    "continuous_bernoulli_cross_entropy: in _sinch_less_one: 0 -> 1'": BELOW_ROUNDING,
    "continuous_bernoulli_cross_entropy: in _sinch_less_one: 13 -> 14": BELOW_ROUNDING,
    "discretised_logistic_cross_entropy: mean -> log_scale''": ONE_DTYPE,
    "discretised_logistic_cross_entropy: mean -> log_scale'''": ONE_DTYPE,
    "gaussian_log_likelihood: x -> mean": ONE_DTYPE,
    "uniform_log_likelihood: x -> mean": ONE_DTYPE,
    "uniform_log_likelihood: log_width -> x''": "minus infinity either way",
    f"uniform_log_likelihood: {UNIFORM_PULLBACKS} -> {UNIFORM_PULLBACKS}": "both are zero",
    "uniform_log_likelihood: x -> mean'''": ONE_SHAPE,
    "uniform_log_likelihood: x -> mean''''": ONE_SHAPE,
    "uniform_log_likelihood: x -> mean'''''": ONE_SHAPE,
    "laplace_log_likelihood: x -> mean": ONE_DTYPE,
    "logistic_log_likelihood: x -> mean": ONE_DTYPE,
}
