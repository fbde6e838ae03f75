"""Each usual slip is named for what it is, over seeds and shapes, and a right gradient has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinyvae import gradcheck

SHAPES = [(3, 4), (5, 3), (7, 5)]
over_seeds_and_shapes = pytest.mark.parametrize(
    ("seed", "shape"), list(zip(range(3), SHAPES, strict=True)), ids=str
)


class Slip(NamedTuple):
    """A function, its pullback, the wrong gradient for one argument, and what is said of it."""

    value: Callable[..., Any]
    pullback: Callable[..., Any]
    wrong: Callable[..., Any]
    said: str
    argument: int = 0


def drawn(seed, shape):
    """Three matrices and a row, of a seed that the checker does not draw from."""
    rng = np.random.default_rng(100 + seed)
    return *(rng.normal(size=shape) for _ in range(3)), rng.normal(size=shape[-1])


def report_of(slip, inputs, seed):
    def pullback(g, *xs):
        gradients = list(slip.pullback(g, *xs))
        gradients[slip.argument] = slip.wrong(g, *xs)
        return gradients

    return gradcheck(slip.value, *inputs, pullback=pullback, seed=seed)


def one_off(g, x, index, factor=1.1):
    gradient = 2 * g * x
    gradient[index] *= factor
    return gradient


def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)


def to_softmax(g, x):
    p = softmax(x)
    return ((g - (g * p).sum(axis=-1, keepdims=True)) * p,)


def square(wrong, said):
    return Slip(lambda x: x * x, lambda g, x: (2 * g * x,), wrong, said)


def half_square(wrong, said):
    return Slip(lambda x: x * x / 2, lambda g, x: (g * x,), wrong, said)


def row_means(wrong, said):
    return Slip(lambda x: x.mean(axis=0), lambda g, x: (g / len(x) + 0 * x,), wrong, said)


def mean(wrong, said):
    return Slip(lambda x: (x * x).mean(), lambda g, x: (2 * g * x / x.size,), wrong, said)


def product(wrong, said, argument=0):
    return Slip(lambda a, b: a * b, lambda g, a, b: (g * b, g * a), wrong, said, argument)


def bias(wrong, said):
    return Slip(lambda a, b: a + b, lambda g, a, b: (g, g.sum(axis=0)), wrong, said, 1)


def sample(wrong, said, argument=1):
    """The reparameterised sample, mean + exp(log_variance / 2) * noise."""
    return Slip(
        lambda m, v, noise: m + np.exp(v / 2) * noise,
        lambda g, m, v, noise: (g, g * np.exp(v / 2) * noise / 2, g * np.exp(v / 2)),
        wrong,
        said,
        argument,
    )


def precision(wrong, said):
    """A squared error that is weighted with exp(-log_variance)."""
    return Slip(
        lambda x, v: x * x * np.exp(-v) / 2,
        lambda g, x, v: (g * x * np.exp(-v), -g * x * x * np.exp(-v) / 2),
        wrong,
        said,
    )


OF_ONE = {
    "zero": square(lambda g, x: 0 * x, "zero"),
    "sign": square(lambda g, x: -2 * g * x, "sign"),
    "a factor 2 lost": square(lambda g, x: g * x, "factor 0.5 everywhere: a factor 2 is missing"),
    "a half lost": half_square(lambda g, x: 2 * g * x, "factor 2 everywhere: a 1/2 is missing"),
    "another factor": square(lambda g, x: 6.6 * g * x, "factor 3.3 everywhere"),
    "a factor and the sign": square(lambda g, x: -6.6 * g * x, "factor -3.3 everywhere"),
    "1/B lost": row_means(lambda g, x: g + 0 * x, "factor {B} everywhere: {B} is the length of"),
    "1/B twice": row_means(lambda g, x: g / len(x) ** 2 + 0 * x, "factor 1/{B}"),
    "1/N lost": mean(lambda g, x: 2 * g * x, "factor {N} everywhere: {N} is its number of"),
    "1/B for 1/N": mean(lambda g, x: 2 * g * x / len(x), "factor {D} everywhere: {D} is the len"),
    "upstream ignored": square(lambda g, x: 2 * x, "upstream: the pullback ignores g"),
    "upstream of a number ignored": mean(
        lambda g, x: 2 * x / x.size, "upstream: the pullback ignores g"
    ),
    "upstream twice": square(lambda g, x: 2 * g * g * x, "upstream: the pullback multiplies by g"),
    "sign of upstream": square(lambda g, x: 2 * abs(g) * x, "upstream: the pullback loses the s"),
    "mean of upstream": square(lambda g, x: 2 * g.mean() * x, "upstream: the pullback uses the m"),
    "one element": square(
        lambda g, x: one_off(g, x, (1, 2)), "element: only element (1, 2) is wrong"
    ),
    "one element of zero": square(
        lambda g, x: one_off(g, x, (0, 0), 0), "element: only element (0, 0) is wrong"
    ),
    "one row": square(lambda g, x: one_off(g, x, 2), "row: only row 2 is wrong"),
    "one column": square(
        lambda g, x: one_off(g, x, (slice(None), 1)), "row: only column 1 is wrong"
    ),
    "rows turned": square(lambda g, x: 2 * np.roll(g * x, 1, axis=0), "permuted: its slices along"),
    "rows reversed": square(lambda g, x: 2 * (g * x)[::-1], "permuted: its slices along axis 0"),
    "columns reversed": square(
        lambda g, x: 2 * (g * x)[:, ::-1], "permuted: its slices along axis 1"
    ),
    "g reversed": square(lambda g, x: 2 * g[::-1] * x, "permuted: g is used with its axis 0"),
    "g turned": square(
        lambda g, x: 2 * np.roll(g, 1, 1) * x, "permuted: g is used with its axis 1"
    ),
    "diagonal of softmax": Slip(
        softmax, to_softmax, lambda g, x: g * softmax(x) * (1 - softmax(x)), "diagonal: only dy_i"
    ),
    "wrong where positive": square(
        lambda g, x: np.where(x > 0, 1.3, 2) * g * x,
        "branch: it is wrong where argument 0 (x) is p",
    ),
    "wrong where negative": square(
        lambda g, x: np.where(x < 0, 1.3, 2) * g * x,
        "branch: it is wrong where argument 0 (x) is n",
    ),
    "an input lost": square(lambda g, x: 2 * g, "input factor: the factor x is missing"),
    "an input too often": square(lambda g, x: 2 * g * x * x, "input factor: off by the factor x"),
    "kl without its -1": Slip(
        lambda v: (np.exp(v) - 1 - v) / 2,
        lambda g, v: (g * (np.exp(v) - 1) / 2,),
        lambda g, v: g * np.exp(v) / 2,
        "term: 0.5 g is too much",
    ),
}

OF_TWO = {
    "the other's gradient": product(
        lambda g, a, b: g * b, "swapped: it is the gradient of argument 0 (a)", 1
    ),
    "broadcast: first picked": bias(lambda g, a, b: g[0], "broadcast: only slice 0 of axis 0"),
    "broadcast: last picked": bias(lambda g, a, b: g[-1], "broadcast: only slice {B-1} of axis 0"),
    "broadcast: averaged": bias(lambda g, a, b: g.mean(axis=0), "factor 1/{B}"),
}

OF_SIGMA = {
    "variance for sigma": sample(
        lambda g, m, v, n: g * np.exp(v) * n / 2, "sigma or exponent: off by the factor exp(v / 2)"
    ),
    "sigma dropped": sample(
        lambda g, m, v, n: g * n / 2, "sigma or exponent: off by the factor exp(-v / 2)"
    ),
    "1/sigma for sigma": sample(
        lambda g, m, v, n: g * np.exp(-v / 2) * n / 2,
        "sigma or exponent: off by the factor exp(-v)",
    ),
    "v for a log of sigma": sample(
        lambda g, m, v, n: g * np.exp(v / 2) * n, "factor 2 everywhere: a 1/2 is missing"
    ),
    "noise dropped": sample(
        lambda g, m, v, n: g * np.exp(v / 2) / 2, "noise: the factor noise is missing"
    ),
    "sigma of the noise": sample(
        lambda g, m, v, n: g * np.exp(v), "sigma or exponent: off by the factor exp(v / 2)", 2
    ),
}

OF_PRECISION = {
    "1/sigma for 1/variance": precision(
        lambda g, x, v: g * x * np.exp(-v / 2), "sigma or exponent: off by the factor exp(v / 2)"
    ),
    "variance dropped": precision(
        lambda g, x, v: g * x, "sigma or exponent: off by the factor exp("
    ),
    "variance for 1/variance": precision(
        lambda g, x, v: g * x * np.exp(v), "sigma or exponent: off by the"
    ),
}


def said_of(text, shape):
    rows, columns = shape
    names = {"{B-1}": rows - 1, "{B}": rows, "{D}": columns, "{N}": rows * columns}
    if text == "factor 1/{B}":
        return f"factor {1 / rows:.6g} everywhere: 1/{rows}, where {rows} is the length of"
    for name, number in names.items():
        text = text.replace(name, str(number))
    return text


def assert_named(slip, inputs, seed, shape):
    worst = report_of(slip, inputs, seed).arguments[slip.argument]
    assert worst.verdict == "WRONG"
    assert worst.diagnosis.startswith(said_of(slip.said, shape))
    assert worst.diagnosis in str(worst)


@over_seeds_and_shapes
@pytest.mark.parametrize("slip", OF_ONE)
def test_a_slip_in_the_gradient_of_one_argument_is_named(slip, seed, shape):
    assert_named(OF_ONE[slip], drawn(seed, shape)[:1], seed, shape)


@over_seeds_and_shapes
@pytest.mark.parametrize("slip", OF_TWO)
def test_a_slip_beside_another_argument_or_in_a_broadcast_is_named(slip, seed, shape):
    a, b, _, row = drawn(seed, shape)
    assert_named(OF_TWO[slip], (a, row if "broadcast" in slip else b), seed, shape)


@over_seeds_and_shapes
@pytest.mark.parametrize("slip", OF_SIGMA)
def test_sigma_taken_for_the_variance_or_its_log_is_named_and_the_noise_dropped(slip, seed, shape):
    assert_named(OF_SIGMA[slip], drawn(seed, shape)[:3], seed, shape)


@over_seeds_and_shapes
@pytest.mark.parametrize("slip", OF_PRECISION)
def test_sigma_taken_for_the_variance_in_a_weight_is_named(slip, seed, shape):
    assert_named(OF_PRECISION[slip], drawn(seed, shape)[:2], seed, shape)


def kl_of_variance(wrong, said):
    def value(v):
        return ((np.exp(v) - 1 - v) / 2).sum(axis=-1)

    return Slip(value, lambda g, v: (g[:, None] * (np.exp(v) - 1) / 2,), wrong, said)


OF_KL = {
    "sigma for the variance": kl_of_variance(
        lambda g, v: g[:, None] * (np.exp(v / 2) - 1) / 2,
        "sigma or scale: it is the right gradient at v / 2",
    ),
    "the variance squared": kl_of_variance(
        lambda g, v: g[:, None] * (np.exp(2 * v) - 1) / 2,
        "sigma or scale: it is the right gradient at v times 2",
    ),
    "the precision": kl_of_variance(
        lambda g, v: g[:, None] * (np.exp(-v) - 1) / 2,
        "sigma or exponent: off by the factor -1 exp(-v)",
    ),
}


@over_seeds_and_shapes
@pytest.mark.parametrize("slip", OF_KL)
def test_sigma_taken_for_the_variance_in_a_kl_is_named(slip, seed, shape):
    assert_named(OF_KL[slip], drawn(seed, shape)[:1], seed, shape)


@pytest.mark.parametrize("slip", ["zero", "sign", "a factor 2 lost", "a half lost"])
def test_a_slip_in_a_large_argument_is_named(slip):
    assert_named(OF_ONE[slip], drawn(0, (20, 30))[:1], 0, (20, 30))


def test_a_factor_near_one_is_told_from_a_column_that_is_off():
    a, *_ = drawn(0, (3, 4))
    column = square(lambda g, x: 2 * g * x * (1 + 1e-6 * (np.arange(4) == 2)), "")
    assert "factor" not in report_of(column, (a,), 0).arguments[0].diagnosis
    everywhere = square(lambda g, x: 2 * g * x * (1 + 1e-6), "factor 1.000001 everywhere")
    assert_named(everywhere, (a,), 0, (3, 4))


@pytest.mark.parametrize("n", [3, 4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_transposed_gradient_of_a_square_matrix_is_named(n, seed):
    a, b, *_ = drawn(seed, (n, n))
    slip = Slip(
        np.matmul,
        lambda g, a, b: (g @ b.T, a.T @ g),
        lambda g, a, b: b @ g.T,
        "transposed: it is the right gradient with its axes in another order",
    )
    assert_named(slip, (a, b), seed, (n, n))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("slip", ["sign", "1/N lost", "one element", "rows reversed", "g turned"])
def test_a_slip_is_named_whatever_the_scale_of_the_loss(slip, scale):
    value, pullback, wrong, said, _ = OF_ONE[slip]
    scaled = Slip(
        lambda x: scale * value(x),
        lambda g, x: pullback(scale * g, x),
        lambda g, x: wrong(scale * g, x),
        said,
    )
    assert_named(scaled, drawn(0, (3, 4))[:1], 0, (3, 4))


OF_EVERY_KIND = ("sign", "a half lost", "1/B lost", "1/N lost", "diagonal of softmax")


@over_seeds_and_shapes
def test_a_right_gradient_has_no_diagnosis(seed, shape):
    a, b, noise, row = drawn(seed, shape)
    right = [(OF_ONE[kind], (a,)) for kind in OF_EVERY_KIND]
    right += [(OF_ONE["kl without its -1"], (a,)), (OF_TWO["the other's gradient"], (a, b))]
    right += [(OF_TWO["broadcast: averaged"], (a, row)), (OF_SIGMA["noise dropped"], (a, b, noise))]
    for slip, inputs in right:
        report = gradcheck(slip.value, *inputs, pullback=slip.pullback, seed=seed)
        assert report
        assert [(x.diagnosis, x.remarks) for x in report.arguments] == [("", [])] * len(inputs)


@over_seeds_and_shapes
def test_the_arguments_beside_a_wrong_one_have_no_diagnosis(seed, shape):
    report = report_of(OF_SIGMA["noise dropped"], drawn(seed, shape)[:3], seed)
    assert [bool(argument.diagnosis) for argument in report.arguments] == [False, True, False]


@over_seeds_and_shapes
def test_what_looks_like_no_slip_is_not_given_a_meaning(seed, shape):
    arbitrary = square(lambda g, x: g * np.arctan(x * 1.7) + 0.3 * g * x**3, "no usual slip")
    assert_named(arbitrary, drawn(seed, shape)[:1], seed, shape)
