"""CUDA's streams, events and graphs for the stand-in, with the rules of capture.

Under capture nothing is done: what was asked is written down with what it has to wait for, by
stream and event. A launch does it in a random order that these allow, so that what rests on an
order which nothing enforces shows as a wrong number; and it refuses to work in memory that was
given back.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np

Act = Callable[[], object]


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of CUDA."""


class Memory:
    """What an allocator gives out; whoever drops it has given the memory back."""


class Work:
    """One call under capture: what it does, after which others, and in which memory."""

    def __init__(self, act: Act, after: set[Work], memory: list[Memory]) -> None:
        self.act, self.after = act, after
        self.memory = [weakref.ref(each) for each in memory]


class Capture:
    """What was asked of the streams that take part."""

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.streams: set[Stream] = set()
        self.is_broken = False

    def break_off(self, why: str) -> None:
        self.is_broken = True
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {why}")


class Event:
    """A place in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        assert disable_timing, "an event that takes the time costs more"

    def record(self, stream: Stream) -> None:
        stream.check_whole()
        self.stream, self.capture, self.after = stream, stream.capture, set(stream.last)


class Stream:
    """Work one after the other; see CuPy's class of that name."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.can_capture, self.device = non_blocking, get_device_id()
        self.capture: Capture | None = None
        self.last: set[Work] = set()
        self.behind: list[Stream] = []  # which it has waited for outside of a capture

    def __enter__(self) -> Self:
        if self.device != get_device_id():
            raise RuntimeError(f"a stream of device {self.device}, not of {get_device_id()}")
        IN_USE.streams.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert IN_USE.streams.pop() is self

    def synchronize(self) -> None:
        if self.capture is not None:
            self.capture.break_off("a wait for a stream under capture")

    def check_whole(self) -> None:
        """Refuse all but the end of a capture that has been broken off."""
        if self.capture is not None and self.capture.is_broken:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated")

    def wait_event(self, event: Event) -> None:
        self.check_whole()
        if event.capture is None:
            if self.capture is not None:
                self.capture.break_off("a wait for what is not captured")
            self.behind.append(event.stream)
            return
        if self.capture is None:
            self.capture = event.capture
            self.capture.streams.add(self)
        self.last = self.last | event.after

    def begin_capture(self) -> None:
        assert self.can_capture, "cannot capture on the default (legacy) stream"
        if self.capture is not None:
            raise CUDARuntimeError("cudaErrorIllegalState: a capture is under way")
        self.capture, self.last = Capture(), set()
        self.capture.streams.add(self)

    def end_capture(self) -> Graph:
        capture, last = self.capture, self.last
        assert capture is not None
        for stream in capture.streams:
            unjoined = stream.last - _before(last)
            stream.capture, stream.last = None, set()
            if unjoined:
                capture.is_broken = True
        if capture.is_broken:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated")
        return Graph(capture.works)

    def add(self, act: Act, memory: list[Memory]) -> None:
        self.check_whole()
        work = Work(act, self.last, memory)
        self.capture.works.append(work)
        self.last = {work}


def _before(works: set[Work]) -> set[Work]:
    """These, and all that they wait for."""
    found, stack = set(works), list(works)
    while stack:
        new = stack.pop().after - found
        found |= new
        stack += new
    return found


class Graph:
    """Works that are done at a launch, in any order that keeps what they wait for."""

    random = np.random.default_rng(0)

    def __init__(self, works: list[Work]) -> None:
        self.works = works

    def launch(self) -> None:
        done: set[Work] = set()
        waiting = list(self.works)
        while waiting:
            ready = [work for work in waiting if work.after <= done]
            work = ready[self.random.integers(len(ready))]
            if any(memory() is None for memory in work.memory):
                raise RuntimeError("a graph works in memory that was given back")
            work.act()
            done.add(work)
            waiting.remove(work)


class InUse(threading.local):
    """Of a thread the streams and the allocators in use, those to use last."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.allocators: list[Callable[[int], Memory]] = [lambda size: Memory()]


IN_USE = InUse()


@contextmanager
def using_allocator(allocator: Callable[[int], Memory]) -> Iterator[None]:
    IN_USE.allocators.append(allocator)
    try:
        yield
    finally:
        IN_USE.allocators.pop()


def get_allocator() -> Callable[[int], Memory]:
    return IN_USE.allocators[-1]


_devices = [0]


def get_device_id() -> int:
    return _devices[-1]


@contextmanager
def on_device(number: int) -> Iterator[None]:
    """Within the block another device is the current one."""
    _devices.append(number)
    try:
        yield
    finally:
        _devices.pop()


DEFAULT = Stream()


def get_current_stream() -> Stream:
    return IN_USE.streams[-1] if IN_USE.streams else DEFAULT


def captured() -> Stream | None:
    """The stream in use, if it is under capture."""
    stream = get_current_stream()
    return None if stream.capture is None else stream


def refuse(why: str) -> None:
    """Break the capture off, if there is one: CUDA does not capture this."""
    if (stream := captured()) is not None:
        stream.capture.break_off(why)
