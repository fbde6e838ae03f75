"""Every planted error is caught: a wrong pullback by the gradient check, a wrong value by oracles.

Either may also be refused with an error. Where value and gradient agree with each other, as in a
sampler that takes the variance for sigma, no gradient check can see the error.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from planted.ops import mechanical, slips
from planted.ops.catch import (
    CHECK,
    ERROR,
    MISSED,
    ORACLE,
    by_gradient_check,
    caught_by,
    says_wrong,
)
from planted.ops.collected import GRADIENTS, by_hand, planted
from planted.ops.equivalent import EQUIVALENT, SUBGRADIENT
from planted.ops.error import Planted, added_up, calls, wrong_parts
from planted.ops.forwards import wrong_forwards
from planted.ops.named import named
from planted.ops.pullbacks import wrong_gradients

from tinyvae import gradcheck
from tinyvae.autograd import DERIVATIONS, OPS

of_every_op = pytest.mark.parametrize("op", OPS)
of_every_derivation = pytest.mark.parametrize("op", DERIVATIONS)
CATCHERS = {"pullback": (CHECK, ERROR), "forward": (ORACLE, ERROR)}
PIXEL = 1 / (64 * 784)  # what the mean over a batch of images leaves of each pixel's loss


def gradients_by_hand(op: str) -> list[Planted]:
    return list(wrong_gradients(op, GRADIENTS.get(op, [])))


def not_caught(errors: list[Planted]) -> list[str]:
    """Those that go unseen, or are seen only by what should not be needed for them."""
    found = ((error, caught_by(error)) for error in errors)
    return [f"{error.name}: {by}" for error, by in found if by not in CATCHERS[error.kind]]


@of_every_op
def test_every_gradient_that_people_get_wrong_is_caught(op):
    assert not not_caught(gradients_by_hand(op))


@of_every_op
def test_every_wrong_value_that_people_compute_is_caught(op):
    assert not not_caught(list(wrong_forwards(op)))


@pytest.mark.slow
@of_every_op
def test_every_usual_slip_is_caught_in_every_op(op):
    assert not not_caught(list(slips.wrong_pullbacks(op)))


@pytest.mark.slow
@of_every_op
def test_every_change_of_the_source_is_caught(op):
    assert not not_caught([e for e in mechanical.planted(op) if e.name not in EQUIVALENT])


@of_every_op
def test_the_right_op_is_caught_by_nothing(op):
    assert caught_by(Planted(op, op, "pullback", OPS[op].bare)) == MISSED


@pytest.mark.slow
@of_every_derivation
@pytest.mark.parametrize("scale", [PIXEL, 1e-8])
def test_a_wrong_gradient_is_caught_however_small_the_loss(op, scale):
    missed = [e.name for e in gradients_by_hand(op) if by_gradient_check(e, scale) == MISSED]
    assert not missed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("bernoulli_cross_entropy", [(64, 784)] * 2),
        ("gaussian_log_likelihood", [(64, 784)] * 2 + [(1,)]),
        ("kl_standard_normal", [(64, 20)] * 2),
        ("kl_gaussian", [(64, 20)] * 4),
    ],
)
def test_a_wrong_gradient_of_the_mean_loss_over_a_batch_is_caught(op, inputs):
    rng = np.random.default_rng(0)
    xs = [rng.uniform(0.1, 0.9, shape) for shape in inputs]
    of_the_upstream = "examples' order"  # all have the same upstream under a mean
    wrong = [e for e in gradients_by_hand(op) if of_the_upstream not in e.name]
    assert says_right(added_up(OPS[op].bare, PIXEL), xs)
    assert not [e.name for e in wrong if says_right(added_up(e.function, PIXEL), xs)]


def says_right(function, inputs) -> bool:
    return not says_wrong(gradcheck(function, *inputs))


def test_far_more_than_150_errors_are_planted_of_both_kinds_in_every_op():
    names = Counter(error.name for op in OPS for error in by_hand(op))
    assert len(names) == names.total() > 1500
    for op in OPS:
        assert {error.kind for error in by_hand(op)} == {"pullback", "forward"}


@pytest.mark.slow
def test_hundreds_more_are_made_from_the_source():
    made = {error.name for op in OPS for error in planted(op)}
    assert len(made - {error.name for op in OPS for error in by_hand(op)}) > 700


@pytest.mark.parametrize("name", EQUIVALENT)
def test_what_is_left_out_is_made_from_the_source_and_computes_the_same(name):
    op = name.partition(":")[0]
    function = dict(mechanical.variants(op))[name]
    several = (call for seed in range(5) for call in calls(op, seed))
    differs = any(wrong_parts(op, function, call) for call in several)
    assert differs == (EQUIVALENT[name] == SUBGRADIENT)


@pytest.mark.slow
def test_the_report_names_the_argument_and_the_element_and_mostly_the_slip():
    found = [named(error) for op in OPS for error in gradients_by_hand(op)]
    for what, share in {"argument": 0.99, "element": 0.99, "usual slip": 0.85}.items():
        assert np.mean([names[what] for names in found if what in names]) >= share
