"""NVRTC by its C interface: CUDA C++ to the machine code of a GPU, without a GPU or CuPy."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path


@functools.cache
def library() -> ctypes.CDLL | None:
    """NVRTC of the wheel ``nvidia-cuda-nvrtc-cu12``, or of its successor; None without it."""
    found = importlib.util.find_spec("nvidia")
    places = found.submodule_search_locations if found else None
    for folder in places or ():
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    return None


def compiled(source: str, options: tuple[str, ...], kind: str = "CUBIN") -> bytes:
    """Machine code (``"CUBIN"``), or with ``"PTX"`` the assembly that is made first.

    Raises
    ------
    SyntaxError
        With what the compiler says.
    """
    nvrtc, program = library(), ctypes.c_void_p()
    assert nvrtc is not None
    words = [option.encode() for option in options]
    none = (source.encode(), b"kernels.cu", 0, None, None)
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), *none) == 0
    try:
        if nvrtc.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words)):
            raise SyntaxError(_fetched(nvrtc, program, "ProgramLog").decode())
        return _fetched(nvrtc, program, kind)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _fetched(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    assert getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc, f"nvrtcGet{what}")(program, text) == 0
    return text.raw
