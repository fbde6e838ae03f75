"""The backward pass over long, wide and shared graphs, and what it frees on the way."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from tinyvae.autograd import Tensor, op


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def grad(x: Tensor) -> list[float]:
    return x.backend.to_host(x.grad).tolist()


# How far it reaches


@pytest.mark.slow
def test_a_chain_of_100_000_ops_goes_forward_and_backward():
    x = y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1
    assert y.item() == 100_001
    y.backward()
    assert grad(x) == [1]


@pytest.mark.slow
def test_a_chain_of_100_000_ops_is_deleted_without_a_backward_pass():
    y = leaf(1.0)
    start = weakref.ref(y)
    for _ in range(100_000):
        y = y + 1
    del y
    gc.collect()
    assert start() is None


def test_a_diamond_of_60_levels_calls_every_pullback_once(backend):
    calls = []

    @op
    def twice(x):
        def pullback(g):
            calls.append(1)
            return g

        return x * 1, (pullback,)

    x = y = leaf(1.0)
    for _ in range(60):
        y = twice(y)
        y = y + y
    y.backward()
    assert grad(x) == [2.0**60]
    assert len(calls) == 60


def test_only_pullbacks_that_are_wanted_are_called(backend):
    @op
    def product(a, b):
        return a * b, (lambda g: g * b, lambda g: pytest.fail("nobody asked for it"))

    x = leaf(2.0)
    product(x, Tensor(np.array([3.0]))).backward()
    assert grad(x) == [3]


# What it frees


def test_the_graph_is_freed_as_backward_goes(backend):
    alive: list[int] = []
    middles: list[weakref.ref] = []

    @op
    def watch(x):
        def pullback(g):
            alive.append(sum(m() is not None for m in middles))
            return g

        return x * 1, pullback

    y = leaf(1.0)
    for _ in range(5):
        y = watch(y)
        middles.append(weakref.ref(y))
    loss = y * 1
    del y
    gc.disable()  # it must go without the cycle collector
    try:
        loss.backward()
    finally:
        gc.enable()
    assert alive == [5, 4, 3, 2, 1]
    assert all(m() is None for m in middles)


def test_what_a_pullback_captured_is_freed_after_backward_though_the_loss_lives_on(backend):
    class Owner:
        pass

    owner = Owner()
    captured = weakref.ref(owner)

    @op
    def capture(x, *, owner):
        return x * 1, lambda g: (owner, g)[1]

    y = capture(leaf(1.0), owner=owner) * 2
    del owner
    assert captured() is not None
    y.backward()
    assert captured() is None
