"""The CUDA kernels on the host: their source, compiled as C++, with the threads of a block in turn.

Each thread of a block runs until it ends or comes to ``__syncthreads()``, then the next; when all
are there, they go on. They take turns upwards or downwards: what depends on the order is a race.
A kernel is compiled and called as with ``cupy.RawKernel``, on the arrays of the stand-in.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import standin
import standin_graphs as graphs

from tinyvae.backend import Backend, cupy_kernels, get

COMPILERS = ("g++", "clang++", "c++") if sys.platform == "linux" else ()
COMPILER = next(filter(None, map(shutil.which, COMPILERS)), None)
GUARD = 8
FLAGS = ("-std=c++14", "-O2", "-shared", "-fPIC", "-w")
SEPARATE = ("-ffp-contract=off",)
FUSED = ("-ffp-contract=fast", "-march=native")  # multiply and add in one, as NVRTC does

BEFORE = r"""
#include <cmath>
#include <utility>
#include <ucontext.h>
using std::exp; using std::expm1; using std::fabs; using std::log1p; using std::sqrt;
#define __global__
#define __device__
#define __shared__ static
struct { unsigned x; } blockIdx, threadIdx;
static void __syncthreads();
"""

AFTER = r"""
static struct { ucontext_t context; char stack[1 << 16]; bool done; } threads[1024];
static ucontext_t scheduler;
static void* body;
static void __syncthreads() { swapcontext(&threads[threadIdx.x].context, &scheduler); }

template <class Body> void run_body() {
    (*static_cast<Body*>(body))();
    threads[threadIdx.x].done = true;
}

// Every thread to its next barrier or its end: how many have ended.
static unsigned turn(unsigned count, bool down) {
    unsigned done = 0;
    for (unsigned k = 0; k < count; ++k) {
        threadIdx.x = down ? count - 1 - k : k;
        swapcontext(&scheduler, &threads[threadIdx.x].context);
        done += threads[threadIdx.x].done;
    }
    return done;
}

template <class Body> bool run_block(unsigned count, bool down, Body call) {
    body = &call;
    for (unsigned k = 0; k < count; ++k) {
        ucontext_t& context = threads[k].context;
        threads[k].done = false;
        getcontext(&context);
        context.uc_stack.ss_sp = threads[k].stack;
        context.uc_stack.ss_size = sizeof(threads[k].stack);
        context.uc_link = &scheduler;
        makecontext(&context, run_body<Body>, 0);
    }
    unsigned done;
    while ((done = turn(count, down)) == 0) {}
    return done == count;  // else some ended while others waited at a barrier
}

template <class... A, size_t... I>
bool launch(void (*kernel)(A...), void** arguments, unsigned blocks, unsigned count, bool down,
            std::index_sequence<I...>) {
    for (unsigned k = 0; k < blocks; ++k) {
        blockIdx.x = down ? blocks - 1 - k : k;
        if (!run_block(count, down, [&] { kernel(*static_cast<A*>(arguments[I])...); }))
            return false;
    }
    return true;
}

template <class... A>
bool launch(void (*kernel)(A...), void** arguments, unsigned blocks, unsigned count, bool down) {
    return launch(kernel, arguments, blocks, count, down, std::index_sequence_for<A...>());
}
"""

LAUNCHER = """
extern "C" bool launch_{0}(void** arguments, unsigned blocks, unsigned count, bool down) {{
    return launch({0}, arguments, blocks, count, down);
}}
"""


@functools.cache
def compiled(source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """``source`` as a library, with a function ``launch_NAME`` for each of its kernels."""
    names = re.findall(r"__global__ void (\w+)\(", source)
    text = BEFORE + source + AFTER + "".join(map(LAUNCHER.format, names))
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "kernels.so")
        command = [str(COMPILER), *FLAGS, *options, "-x", "c++", "-", "-o", str(library)]
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        if done.returncode:
            raise SyntaxError(done.stderr)
        return ctypes.CDLL(str(library))


class RawKernel:
    """CuPy's class of that name; arrays that a pointer does not describe are refused."""

    def __init__(self, code: str, name: str, options: tuple[str, ...] = (), **how: Any) -> None:
        self.name = name
        self.contract, self.down = how.get("contract", SEPARATE), how.get("down", False)
        self.launch = getattr(compiled(code, (*options, *self.contract)), f"launch_{name}")
        self.launch.restype = ctypes.c_bool

    def __call__(self, grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
        assert min(grid) > 0, "CUDA refuses a grid of none"
        held = [_argument(a, then) for a, then in itertools.pairwise((*arguments, None))]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(a) for a in held))
        sizes = [*map(ctypes.c_uint, grid + block), ctypes.c_bool(self.down)]
        arrays = [a for a in arguments if isinstance(a, standin.DeviceArray)]
        hosts = [a._host for a in arrays]  # the run holds these, and not the device's memory

        def run() -> None:
            if not self.launch(pointers, *sizes):
                raise RuntimeError("a thread ended while others waited for it: on a GPU this hangs")
            if any(map(_is_overrun, hosts)):
                raise RuntimeError("a kernel has written past the end of an array")

        run.held = held
        stream = graphs.captured()
        stream.add(run, [a._memory for a in arrays]) if stream else run()


def _argument(value: Any, then: Any) -> Any:
    if type(value) is float:
        return ctypes.c_double(value)
    if type(value) is int:
        return ctypes.c_longlong(value)
    if not value.flags.c_contiguous and not _walks(value, then):
        raise TypeError(f"a kernel walks through memory; this array has strides {value.strides}")
    return ctypes.c_void_p(value._host.ctypes.data)


def _walks(array: Any, row: Any) -> bool:
    """Whether a kernel that is told the length of a row reads such an array rightly."""
    strides = (row * array.itemsize, array.itemsize) if type(row) is int else ()
    return array.ndim in (1, 2) and array.strides == strides[: array.ndim]


def empty(shape: tuple[int, ...], dtype: Any) -> standin.DeviceArray:
    """NaNs, so that what a kernel does not write shows; and behind them more, as a guard."""
    size = math.prod(shape)
    return standin.DeviceArray(np.full(size + GUARD, np.nan, dtype)[:size].reshape(shape))


def _is_overrun(array: np.ndarray) -> bool:
    owner = array.base
    is_guarded = owner is not None and owner.size == array.size + GUARD
    return is_guarded and not np.isnan(owner[array.size :]).all()


def namespace(**how: Any) -> standin.Namespace:
    """The stand-in's functions, with ``RawKernel``; ``how`` it runs: ``contract=``, ``down=``."""
    members = {name: value for name, value in vars(standin.xp).items() if name != "_path"}
    members |= {"empty": empty, "RawKernel": functools.partial(RawKernel, **how)}
    return standin.Namespace("xp", **members)


def backend(products: Any = None, **how: Any) -> Backend:
    """The stand-in with CuPy's kernels."""
    return replace(get("standin"), kernels=cupy_kernels.load(namespace(**how), products))
