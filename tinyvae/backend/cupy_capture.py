"""A computation on CuPy's arrays, written down once as a CUDA graph and launched as a whole.

What `tinyvae.backend.recording` is for NumPy. CUDA itself writes down what is asked of a stream,
without doing it, so the code that is to be repeated runs as it stands. Not yet run on a GPU: the
tests run it on a stand-in that keeps CUDA's rules of capture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from tinyvae.backend.recording import being_recorded
from tinyvae.errors import NotRecordableError, TinyvaeError


def streams_of(cupy: Any) -> Callable[[], Streams]:
    """A function that gives the `Streams` of the thread and the device that ask.

    CuPy refuses those of another device, and two threads cannot capture one stream.
    """
    made: dict[tuple[int, int], Streams] = {}

    def here() -> Streams:
        key = threading.get_ident(), cupy.cuda.get_device_id()
        if key not in made:
            made[key] = Streams(cupy)
        return made[key]

    return here


class Streams:
    """A stream of the current device that is captured, one for its branch, one that never is.

    They are made once and serve every capture, since CuPy keeps freed memory by the stream.
    """

    def __init__(self, cupy: Any) -> None:
        self.cuda, self._asarray = cupy.cuda, cupy.asarray
        self.main, self.side, self.free = (cupy.cuda.Stream(non_blocking=True) for _ in range(3))
        self.capture: Capture | None = None

    def recording(self) -> Capture:
        """A new capture."""
        return Capture(self)

    def from_host(self, array: Any) -> Any:
        """A copy on the device; under capture it is made now, and stays what it is.

        A graph that copied from the host would do so each time, from memory long given back.
        """
        if self.capture is None:
            return self._asarray(array)
        with self.free:
            made = self._asarray(array)
        self.free.synchronize()
        return made

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Within the block, under capture, work goes to a branch of the graph, until `join`."""
        if self.capture is None:
            yield
            return
        self._wait(self.side, self.main)
        self.capture.is_forked = True
        with self.side:
            yield

    def join(self) -> None:
        """What comes after waits for the branch."""
        if self.capture is not None and self.capture.is_forked:
            self._wait(self.main, self.side)
            self.capture.is_forked = False

    def follow(self, now: Any) -> None:
        """What comes after waits for the stream ``now``.

        Of the memory that it is given, a graph that is gone, or a rehearsal, may still make use.
        """
        for stream in (self.main, self.free):
            self._wait(stream, now)

    def _wait(self, later: Any, earlier: Any) -> None:
        event = self.cuda.Event(disable_timing=True)
        event.record(earlier)
        later.wait_event(event)


class Capture:
    """What a ``with`` block asks of the GPU, as a CUDA graph; see `Streams.recording`.

    The block does not run on the GPU: only `finish` gives a function that does. What it calls
    must have been compiled before. Memory that is taken within it is held as long as the graph
    is, since a graph writes to the same addresses each time, and its branches at any time.
    """

    executes = False
    """Whether the block has also done what was written down."""

    def __init__(self, streams: Streams) -> None:
        self.streams, self.is_forked = streams, False
        self._malloc = streams.cuda.get_allocator()
        self._held: list[Any] = []
        self._graph: Any = None

    def watch(self, array: Any) -> Any:
        """The array as it is, since CUDA sees what is done with it."""
        return array

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Within the block the computation runs as it will be written down, on the same streams.

        So that what a stream needs, compiled code or a library's own memory, is there before;
        and what cannot be written down is refused before it has drawn a number.
        """
        streams, now = self.streams, self.streams.cuda.get_current_stream()
        streams.follow(now)
        try:
            with being_recorded(), self._on_streams():
                try:
                    yield
                finally:
                    streams.join()
        except MemoryError as error:
            raise NotRecordableError(f"a graph of this step needs more memory: {error}") from error
        finally:
            streams._wait(now, streams.main)
            self._held.clear()

    @contextmanager
    def _on_streams(self) -> Iterator[None]:
        self.streams.capture = self
        try:
            with self.streams.cuda.using_allocator(self._hold), self.streams.main:
                yield
        finally:
            self.streams.capture = None

    def _hold(self, size: int) -> Any:
        memory = self._malloc(size)
        self._held.append(memory)
        return memory

    def __enter__(self) -> Self:
        self.streams.follow(self.streams.cuda.get_current_stream())
        with ExitStack() as stack:
            stack.enter_context(being_recorded())
            stack.enter_context(self._on_streams())
            self.streams.main.begin_capture()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        with self._exit:
            try:
                try:
                    self.streams.join()
                finally:  # else the stream would be captured for ever
                    self._graph = self.streams.main.end_capture()
            except RuntimeError as broken:  # of CUDA, for what was done within
                error = error or broken
        # Memory too: what a graph does takes more of it than the same done at once.
        if isinstance(error, (RuntimeError, MemoryError)) and not isinstance(error, TinyvaeError):
            raise NotRecordableError(f"CUDA does not capture this step: {error}") from error

    def finish(self, results: Sequence[Any] = ()) -> Callable[[], None]:
        """A function that launches the graph; the ``results`` stay where they are."""
        graph, held = self._graph, (self._held, *results)

        def again(_: Any = held) -> None:
            graph.launch()

        return again
