"""One-pass versions of ops and of the parts of a step for CuPy, under their references' names.

What they mean is said beside the references, in `tinyvae.autograd`, `tinyvae.optim` and
`tinyvae.resident`. They are CUDA C++ in a string, which NVRTC compiles at first use, once for
float32 and once for float64; matrix products are a library's. Each is a launch or two, since a
step of a small model is as long as its launches are many; and each can be captured: it takes
memory, starts kernels, and waits for nothing. So far NVRTC has compiled them for sm_90, and the
same source has run on the host, against the references; on a GPU they have not run yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tinyvae.backend.base import once, same_shape
from tinyvae.backend.cuda_source import SOURCE

Array: TypeAlias = Any

THREADS = 128
"""In a block; a power of two, since a sum over a block halves them."""
COLUMNS = 8
"""How many columns one block sums: as many float32 as memory gives at once."""
TALL = 1024
"""Rows that one block sums by itself: of more, a second launch sums the sums."""
REALS = {"float32": "float", "float64": "double"}


def options(dtype: str) -> tuple[str, ...]:
    """What NVRTC is told about `SOURCE`, to compile it for arrays of ``dtype``."""
    return f"-DREAL={REALS[dtype]}", f"-DTHREADS={THREADS}", f"-DCOLUMNS={COLUMNS}"


def load(cupy: Any, products: Any = None) -> Mapping[str, Callable[..., Any]]:
    """The kernels by their references' names; ``cupy`` compiles each when it is first called.

    ``products(a, b, out=None)`` is the matrix product, ``cupy.matmul`` for None; if it has
    ``affine(x, weight, bias, relu)``, that is a whole layer, or None where it cannot. Both give
    arrays in row-major order.
    """
    kernels = Kernels(cupy, products)
    names = (name for name in vars(Kernels) if not name.startswith("_"))
    return {name: getattr(kernels, name) for name in names}


class Kernels:
    """The kernels of `SOURCE` as functions of CuPy's arrays, and what is compiled of them.

    One that is not for what it is given returns NotImplemented: then its reference is called.
    """

    def __init__(self, cupy: Any, products: Any = None) -> None:
        self._cupy = cupy
        self._products = products or (lambda a, b, out=None: cupy.matmul(a, b, out=out))
        self._layer = getattr(products, "affine", lambda *_: None)
        self._compiled: dict[tuple[str, str], Any] = {}

    # The losses and the sample

    def bernoulli_cross_entropy(self, logits: Array, targets: Array) -> tuple[Array, Any]:
        """Each way in one pass, and nothing kept in between.

        To keep the slope for the way back moves as many bytes (2 + 1 arrays, then 1 + 1, for
        2, then 2 + 1), and more of them if no gradient is wanted.
        """
        same_shape("bernoulli_cross_entropy", logits, targets)
        loss = self._over_rows("bernoulli_cross_entropy", logits.shape[:-1], logits, targets)

        def to_logits(g: Array) -> Array:
            name = "bernoulli_cross_entropy_to_logits"
            return self._over_rows(name, logits.shape, logits, targets, g)

        return loss, (to_logits, lambda g: -g[..., None] * logits)

    def gaussian_sample(self, mean: Array, log_variance: Array, noise: Array) -> tuple[Array, Any]:
        """Sigma is worked out anew on the way back."""
        name, shape = "gaussian_sample", mean.shape
        same_shape(name, mean, log_variance, noise)
        return self._over_rows(name, shape, mean, log_variance, noise), (
            lambda g: g,
            lambda g: self._over_rows(f"{name}_to_log_variance", shape, log_variance, noise, g),
            lambda g: self._over_rows(f"{name}_to_noise", shape, log_variance, g),
        )

    def kl_standard_normal(self, mean: Array, log_variance: Array) -> tuple[Array, Any]:
        """As the reference, but with the series only where it is wanted."""
        same_shape("kl_standard_normal", mean, log_variance)
        kl = self._over_rows("kl_standard_normal", mean.shape[:-1], mean, log_variance)

        def to_log_variance(g: Array) -> Array:
            name = "kl_standard_normal_to_log_variance"
            return self._over_rows(name, mean.shape, log_variance, g)

        return kl, (lambda g: g[..., None] * mean, to_log_variance)

    # Everyday ops

    def matmul(self, a: Array, b: Array) -> Any:
        """Of two matrices, by ``products``, which can be captured."""
        if not (a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0]):
            return NotImplemented
        times = self._products
        return times(a, b), (lambda g: times(g, b.T), lambda g: times(a.T, g))

    def affine(self, x: Array, weight: Array, bias: Array) -> Any:
        """The bias is added where the product is, or in one launch behind it."""
        return self._dense(x, weight, bias, relu=False)

    def affine_relu(self, x: Array, weight: Array, bias: Array) -> Any:
        """The same with the ReLU; one launch makes H, another sums it to the bias's place.

        One that does both could not write there: when H is wanted first, for x, the place of
        the bias's gradient is not known yet.
        """
        return self._dense(x, weight, bias, relu=True)

    def getitem(self, x: Array, *, index: Any) -> Any:
        """Of one slice with the step 1, such as half of a head; its gradient is one launch."""
        found = _one_slice(index, x.shape)
        if found is None:
            return NotImplemented
        axis, start, count = found
        inner = math.prod(x.shape[axis + 1 :])

        def pullback(g: Array) -> Array:
            gradient = self._empty(x.shape, x)
            lengths = (x.shape[axis] * inner, start * inner, count * inner)
            given = (self._contiguous(g), gradient, *lengths, gradient.size)
            self._launch("getitem_to_x", gradient, _blocks(gradient.size), *given)
            return gradient

        return x[index].copy(), pullback

    # The parts of a step

    def adam(
        self,
        p: Array,
        g: Array,
        first: Array,
        second: Array,
        constants: Any,
        *,
        beta1: float,
        beta2: float,
        decay: float,  # noqa: ARG002 - without it, the last of the constants is 0
    ) -> None:
        """Each parameter and its two sums are read once and written once."""
        if isinstance(constants, tuple):
            name, given = "adam_of_numbers", [*map(float, constants)]
        else:
            name, given = "adam", [constants]
        numbers = (float(beta1), float(beta2), p.size)
        self._launch(name, p, _blocks(p.size), p, g, first, second, *given, *numbers)

    def take_batch(
        self,
        images: Array,
        order: Array,
        draws: Array | None,
        noise: Array,
        constants: Array,
        turn: Array,
        rows: int,
        batch: int,
    ) -> tuple[Array, Array, Array]:
        """All that a step takes from what lies on the device, in one launch."""
        (_, pixels), (_, latent), (_, count) = images.shape, noise.shape, constants.shape
        made = [self._empty(s, noise) for s in ((rows, pixels), (rows, latent), (count,))]
        given = (images, order, images if draws is None else draws, noise, constants, turn)
        sizes = (batch, pixels, latent, count, int(draws is not None))
        self._launch(f"take_batch_{images.dtype.name}", noise, rows, *given, *made, *sizes)
        x, sample_noise, step = made
        return x, sample_noise, step

    def tally(self, reconstruction: Array, kl: Array, sums: Array, turn: Array) -> None:
        """The two sums go on in float64, whatever the losses are of."""
        losses = map(self._contiguous, (reconstruction, kl))
        self._launch("tally", reconstruction, 2, *losses, sums, turn, len(kl))

    # What they are made of

    def _dense(self, x: Array, weight: Array, bias: Array, relu: bool) -> Any:
        fits = x.ndim == weight.ndim == 2 and x.shape[1] == weight.shape[0]
        if not fits or bias.shape != weight.shape[1:]:
            return NotImplemented  # the reference says what is wrong
        times = self._products
        y = self._layer(x, weight, bias, relu)
        if y is None:
            y = times(x, weight)
            name = "add_bias_relu" if relu else "add_bias"
            self._launch(name, y, len(y), y, self._contiguous(bias), y.shape[1])
        h = once(lambda g: self._where_positive(y, g)) if relu else lambda g: g
        return y, (
            lambda g, out=None: times(h(g), weight.T, out=out),
            lambda g, out=None: times(x.T, h(g), out=out),
            lambda g, out=None: self._column_sums(h(g), out),
        )

    def _where_positive(self, y: Array, g: Array) -> Array:
        made = self._empty(y.shape, y)
        given = (y, self._contiguous(g), made, made.size)
        self._launch("relu_to_x", made, _blocks(made.size), *given)
        return made

    def _column_sums(self, g: Array, out: Array | None) -> Array:
        """The sum of the rows, in a fixed order; written to ``out`` by the last launch, if it can.

        A block sums `TALL` rows at most, and what the blocks have summed is summed again.
        """
        rows, columns = g.shape
        chunks = max(1, -(-rows // TALL))
        if chunks > 1:
            sums = self._empty((chunks, columns), g)
        else:
            straight = out is not None and out.flags.c_contiguous
            sums = out if straight else self._empty((columns,), g)
        given = (self._contiguous(g), sums, rows, columns, TALL)
        self._launch("column_sums", g, chunks * -(-columns // COLUMNS), *given)
        if chunks > 1:
            return self._column_sums(sums, out)
        if out is not None and sums is not out:
            out[...] = sums
        return sums if out is None else out

    def _over_rows(self, name: str, shape: tuple[int, ...], *arrays: Array) -> Array:
        """What a kernel makes, of that shape, with a block for each row of the first array."""
        *batch, d = arrays[0].shape
        made = self._empty(shape, arrays[0])
        given = (part for a in arrays for part in self._rows(a, a.ndim > len(batch)))
        self._launch(name, made, math.prod(batch), *given, made, d)
        return made

    def _rows(self, array: Array, of_rows: bool) -> tuple[Array, int]:
        """Rows, or one number for each, and how many elements further the next one is."""
        if not array.flags.c_contiguous:
            in_line = not of_rows or array.strides[-1] == array.itemsize
            if array.ndim == 1 + of_rows and in_line:
                return array, array.strides[0] // array.itemsize
            array = self._cupy.ascontiguousarray(array)
        return array, array.shape[-1] if of_rows else 1

    def _empty(self, shape: tuple[int, ...], like: Array) -> Array:
        return self._cupy.empty(shape, like.dtype)

    def _contiguous(self, array: Array) -> Array:
        return array if array.flags.c_contiguous else self._cupy.ascontiguousarray(array)

    def _launch(self, name: str, like: Array, blocks: int, *arguments: Any) -> None:
        """Start a kernel, the one for numbers of the dtype of ``like``."""
        key = name, like.dtype.char
        kernel = self._compiled.get(key)
        if kernel is None:
            how = options(like.dtype.name)
            kernel = self._compiled[key] = self._cupy.RawKernel(SOURCE, name, how)
        if blocks:  # CUDA refuses a grid of none
            kernel((blocks,), (THREADS,), arguments)


def _blocks(size: int) -> int:
    """How many have a thread for each of so many elements."""
    return -(-size // THREADS)


def _one_slice(index: Any, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """The axis that is cut, from where on, and how many are taken; None for any other index."""
    index = index if isinstance(index, tuple) else (index,)
    if len(index) > len(shape) or not all(isinstance(part, slice) for part in index):
        return None
    spans = [part.indices(n) for part, n in zip(index, shape, strict=False)]
    cut = [k for k, span in enumerate(spans) if span != (0, shape[k], 1)]
    if len(cut) != 1 or spans[cut[0]][2] != 1:
        return None
    start, stop, _ = spans[cut[0]]
    return cut[0], start, stop - start
