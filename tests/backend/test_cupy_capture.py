"""A capture writes down what runs, on the streams it ran on before, and holds its memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import standin
import standin_graphs as graphs
from standin_graphs import CUDARuntimeError

import tinyvae as tv
from tinyvae.autograd import OPS
from tinyvae.backend import Backend, get, use
from tinyvae.errors import NotRecordableError


@pytest.fixture
def backend() -> Iterator[Backend]:
    with use("standin") as chosen:
        yield chosen
    assert graphs.get_current_stream() is graphs.DEFAULT


def repeated(backend: Backend, act: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """A function that launches what ``act`` does, and what it has returned."""
    capture = backend.recording()
    with capture:
        made = act()
    return capture.finish([made]), made


def test_a_graph_does_nothing_until_it_is_launched_and_then_each_time(backend: Backend) -> None:
    x = backend.from_host(np.arange(3.0))
    again, y = repeated(backend, lambda: x * 2 + 1)
    assert np.isnan(backend.to_host(y)).all()
    for shift in (0, 1):
        x += shift
        again()
        np.testing.assert_array_equal(backend.to_host(y), 2 * (np.arange(3.0) + shift) + 1)


@pytest.mark.parametrize("joined", [True, False])
def test_what_rests_on_a_branch_is_right_in_any_order_only_if_it_waits(
    backend: Backend, joined: bool
) -> None:
    x = backend.from_host(np.arange(3.0))

    def act() -> Any:
        with backend.aside():
            y = x + 1
        if joined:
            backend.join()
        return y * 2

    again, z = repeated(backend, act)
    found = set()
    for shift in range(30):
        x[...] = shift
        again()
        found.add(float(backend.to_host(z)[0]) == 2 * (shift + 1))
    assert found == ({True} if joined else {True, False})


def test_outside_of_a_capture_there_are_no_branches(backend: Backend) -> None:
    with backend.aside():
        assert graphs.get_current_stream() is graphs.DEFAULT
    backend.join()


def test_memory_that_is_taken_within_is_held(backend: Backend) -> None:
    x = backend.from_host(np.arange(3.0))
    capture = backend.recording()
    with capture:
        y = (x * 2) * 3  # of which the first is dropped at once
    again = capture.finish()
    del capture
    gc.collect()
    again()
    np.testing.assert_array_equal(backend.to_host(y), 6 * np.arange(3.0))


WAITS: dict[str, Callable[[Any], Any]] = {
    "a number": lambda x: float(x[0]),
    "a branch on a value": lambda x: 1 if x[0] else 2,
    "a copy to the host": standin.to_host,
    "a copy from the host": lambda x: standin.from_host(np.zeros(3)),
    "a list on the device": lambda x: standin.xp.asarray([1.0]),
    "more arrays behind each other than 8": lambda x: standin.xp.concatenate([x] * 9),
    "a mask": lambda x: x[x > 1],
}


@pytest.mark.parametrize("name", WAITS)
def test_what_cuda_does_not_capture_is_told_as_such(backend: Backend, name: str) -> None:
    x = backend.from_host(np.arange(3.0))
    with pytest.raises(NotRecordableError, match=r"CUDA does not capture this step: .*Capture"):
        repeated(backend, lambda: WAITS[name](x))
    again, y = repeated(backend, lambda: x + 1)  # and the stream is as good as new
    again()
    np.testing.assert_array_equal(backend.to_host(y), np.arange(3.0) + 1)


def test_another_error_within_stays_what_it_is(backend: Backend) -> None:
    with pytest.raises(ZeroDivisionError):
        repeated(backend, lambda: 1 / 0)


def test_an_error_that_was_swallowed_within_is_told_at_the_end(backend: Backend) -> None:
    def swallow() -> None:
        with pytest.raises(CUDARuntimeError):
            float(x)

    x = backend.from_host(np.ones(()))
    with pytest.raises(NotRecordableError, match="Invalidated"):
        repeated(backend, swallow)


def test_numbers_of_the_host_are_put_on_the_device_before_and_not_by_the_graph(
    backend: Backend,
) -> None:
    x, three = backend.from_host(np.ones(1)), np.array([3.0])
    again, y = repeated(backend, lambda: x * backend.from_host(three))
    three[0] = 5
    again()
    assert float(y[0]) == 3


def test_each_stream_of_a_capture_has_run_the_same_before(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA's libraries want it, which make what they need for a stream at its first use."""
    known, matmul = set(), standin.xp.matmul
    streams = set()

    def of_a_library(*given: Any, **options: Any) -> Any:
        stream = graphs.get_current_stream()
        if graphs.captured() and stream not in known:
            raise NotImplementedError("no handle for this stream")
        streams.add(stream)
        known.add(stream)
        return matmul(*given, **options)

    monkeypatch.setitem(vars(standin.xp), "matmul", of_a_library)
    w, b = (tv.Tensor(np.ones(shape), requires_grad=True) for shape in ((3, 2), (2,)))
    x = tv.Tensor(np.ones((4, 3)), requires_grad=True)
    replay = tv.Replay(lambda: OPS["affine"](x * 1.0, w, b).sum(), [w, b, x])
    for _ in range(6):
        for parameter in (w, b, x):
            parameter.zero_grad()
        replay()
    assert "2 replayed" in repr(replay)
    assert len(streams) == 3  # the default one, the one captured, and its branch


def test_a_matrix_product_that_is_not_captured_is_taped_each_time(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CuPy's own, which refuses."""

    def refusing(*given: Any, **options: Any) -> Any:
        if graphs.captured():
            raise NotImplementedError("calling cuBLAS API during stream capture is unsupported")
        return matmul(*given, **options)

    matmul = standin.xp.matmul
    monkeypatch.setitem(vars(standin.xp), "matmul", refusing)
    w, b = (tv.Tensor(np.ones(shape), requires_grad=True) for shape in ((3, 2), (2,)))
    x = get("standin").from_host(np.ones((4, 3)))
    replay = tv.Replay(lambda: OPS["affine"](x, w, b).sum(), [w, b])
    for _ in range(6):
        w.zero_grad()
        b.zero_grad()
        assert replay().item() == 4 * 2 * 4
    assert "0 replayed" in repr(replay)


@pytest.mark.parametrize("act", [lambda x: float(x[0]), lambda _: 1 / 0])
def test_a_capture_that_fails_on_its_branch_is_ended_all_the_same(
    backend: Backend, act: Callable[[Any], Any]
) -> None:
    """CUDA refuses to join what was broken off, and a stream not ended captures for ever."""
    x = backend.from_host(np.arange(3.0))

    def fail() -> None:
        with backend.aside():
            act(x + 1)

    with pytest.raises((NotRecordableError, ZeroDivisionError)):
        repeated(backend, fail)
    capture = backend.recording()
    with capture.rehearsal():
        x + 1
    again, y = repeated(backend, lambda: x + 1)
    again()
    np.testing.assert_array_equal(backend.to_host(y), np.arange(3.0) + 1)


def test_each_device_has_streams_of_its_own(backend: Backend) -> None:
    """CuPy refuses those of another one, as after `cupy.cuda.Device(1).use()`."""
    x = backend.from_host(np.arange(3.0))

    def act() -> Any:
        with backend.aside():
            y = x + 1
        backend.join()
        return y

    for device in (0, 1, 0):
        with graphs.on_device(device):
            with backend.recording().rehearsal():
                act()
            again, y = repeated(backend, act)
            again()
            np.testing.assert_array_equal(backend.to_host(y), np.arange(3.0) + 1)


def test_a_copy_from_the_host_waits_for_those_who_had_its_memory_before(backend: Backend) -> None:
    """A graph that is gone may still be at work, and CuPy gives its memory out again at once."""
    capture, user = backend.recording(), graphs.Stream()
    free, main = capture.streams.free, capture.streams.main
    for within in (capture.rehearsal(), capture):
        with user:
            free.behind.clear()
            with within:
                backend.from_host(np.zeros(3))
            assert {user, main} & set(free.behind)
        assert within is capture or user in main.behind
