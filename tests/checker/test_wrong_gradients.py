"""Wrong gradients, small and large: each is found, in its argument alone, and named."""

from __future__ import annotations

import pytest
from functions import TARGETS, X, Y, planted

from tinyvae.autograd import derivations, ops
from tinyvae.checker import gradcheck
from tinyvae.errors import GraphError


def softmax(x):
    xp = ops.namespace(x)
    e = xp.exp(x)
    return e / xp.sum(e, axis=-1, keepdims=True)


def one_element_off(x, g):
    right = g * 2 * x
    right[1, 2] *= 1.001
    return right


CE = derivations.bernoulli_cross_entropy.bare


def loss(logits, targets):
    return CE(logits, targets)[0]


def to_targets(x, t, g):
    return -g[:, None] * x


def exp(x):
    return ops.namespace(x).exp(x)


def squared(pullback):
    return planted(lambda x: x * x, pullback)


def added(to_b):
    return planted(lambda a, b: a + b, lambda a, b, g: g, lambda a, b, g: to_b(g))


# What is wrong: the function, its inputs, and which of its arguments it is wrong for
PLANTED = {
    "sign": (
        planted(loss, lambda x, t, g: g[:, None] * (t - ops.logistic(x)), to_targets),
        (X, TARGETS),
        0,
    ),
    "factor 1/B": (
        planted(loss, lambda x, t, g: g[:, None] * (ops.logistic(x) - t) / len(x), to_targets),
        (X, TARGETS),
        0,
    ),
    "factor 2": (squared(lambda x, g: g * x), (X,), 0),
    "zero, of a tiny loss": (lambda x: squared(lambda x, g: g * 0)(x).sum() * 1e-8, (X,), 0),
    "0.1%, of a tiny loss": (
        lambda x: squared(lambda x, g: g * 2.002 * x)(x).sum() * 1e-8,
        (X,),
        0,
    ),
    "softmax of zero": (planted(softmax, lambda x, g: g * 0), (X,), 0),
    "softmax without its sum": (
        planted(softmax, lambda x, g: g * softmax(x) * (1 - softmax(x))),
        (X,),
        0,
    ),
    "upstream ignored": (squared(lambda x, g: 2 * x), (X,), 0),
    "upstream of a number ignored": (planted(lambda x: (x * x).sum(), lambda x, g: 2 * x), (X,), 0),
    "one element": (squared(one_element_off), (X,), 0),
    "transposed": (
        planted(lambda a, b: a @ b, lambda a, b, g: b @ g.T, lambda a, b, g: a.T @ g),
        (X[:, :3], Y[:, :3]),
        0,
    ),
    "second argument": (
        planted(lambda a, b: a * b, lambda a, b, g: g * b, lambda a, b, g: g * b),
        (X, Y),
        1,
    ),
    "broadcast picked, not summed": (added(lambda g: g[0]), (X, Y[0]), 1),
    "broadcast averaged": (added(lambda g: g.mean(axis=0)), (X, Y[0]), 1),
    "rows in another order": (planted(lambda x: x * 2, lambda x, g: 2 * g[::-1]), (X,), 0),
    "sigma squared for sigma": (
        planted(
            lambda v, n: exp(v / 2) * n,
            lambda v, n, g: g * exp(v) * n / 2,
            lambda v, n, g: g * exp(v / 2),
        ),
        (X, Y),
        0,
    ),
    "kl without its - 1": (
        planted(lambda v: (exp(v) - 1 - v) / 2, lambda v, g: g * exp(v) / 2),
        (X,),
        0,
    ),
}


@pytest.mark.parametrize("error", PLANTED)
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_error_is_found_in_its_argument_alone(backend, error, seed):
    function, inputs, argument = PLANTED[error]
    report = gradcheck(function, *inputs, seed=seed)
    assert not report
    assert [worst.passed for worst in report.arguments] == [
        k != argument for k in range(len(inputs))
    ]


def test_the_worst_element_is_named_with_both_values(backend):
    report = gradcheck(PLANTED["one element"][0], X)
    (worst,) = report.arguments
    assert (worst.argument, worst.index) == (0, (1, 2))
    assert worst.pullback == pytest.approx(1.001 * worst.oracle, rel=1e-9)
    text = str(report)
    assert text.startswith("WRONG: argument 0, worst element (1, 2): the pullback says ")
    assert f"{worst.pullback:.10g}" in text
    assert f"{worst.oracle:.10g}" in text
    assert repr(report) == text


def test_the_report_has_a_line_for_every_argument(backend):
    lines = map(str, gradcheck(PLANTED["second argument"][0], X, Y).arguments)
    assert [line.split(",")[0] for line in lines] == ["right: argument 0", "WRONG: argument 1"]


def test_a_missing_sum_over_broadcast_is_an_error_of_shape(backend):
    wrong = added(lambda g: g)
    with pytest.raises(GraphError, match=r"shape \(3, 4\).* for argument 1 \(4,\)"):
        gradcheck(wrong, X, Y[0])


def test_the_tolerance_can_be_widened(backend):
    wrong = squared(one_element_off)
    assert not gradcheck(wrong, X, tolerance=1e-5)
    assert gradcheck(wrong, X, tolerance=1e-2)
