"""For the tests of other projects: assertions for pytest, and a strategy for hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyvae.autograd import Tensor, ops
from tinyvae.checker import GradientReport, gradcheck
from tinyvae.errors import MissingExtraError, OptionError
from tinyvae.noise import Noise

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

LENGTHS = (2, 3, 4, 5, 6, 7)
GRID = 1024  # values lie on a grid of so many steps, so that failing ones shrink to simple numbers


def assert_gradients(function: Callable[..., Any], *inputs: Any, **options: Any) -> GradientReport:
    """Fail with the whole report unless every gradient is surely right.

    Parameters
    ----------
    function, *inputs, **options
        As for `tinyvae.gradcheck`.

    Raises
    ------
    AssertionError
        With the report of the check as its message.

    Examples
    --------
    >>> import numpy as np
    >>> report = assert_gradients(np.sin, np.ones(3), pullback=lambda g, x: g * np.cos(x))
    >>> [argument.verdict for argument in report.arguments]
    ['right']
    """
    __tracebackhide__ = True  # pytest shows the line that asserts, not this one
    report = gradcheck(function, *inputs, **options)
    if not report:
        raise AssertionError(f"a gradient is not surely right\n{report}")
    return report


def points(*axes: str, low: float = -3.0, high: float = 3.0) -> SearchStrategy[Any]:
    """A hypothesis strategy for the inputs of a function, as a tuple of float64 arrays.

    Parameters
    ----------
    *axes : str
        For each input a letter for each axis: equal letters have equal lengths, different
        letters different ones, all above 1, so that no wrong shape passes by broadcasting.
        A ``"1"`` is an axis of that length, and ``""`` a number.
    low, high : float
        Between which the values lie; those of one array differ from each other.

    Raises
    ------
    MissingExtraError
        hypothesis is not installed.
    OptionError
        More than six letters; or bounds without a number between them.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(points("bi", "io", "o"))  # rows, weight and bias of a dense layer
    ... def test_shapes_fit(inputs):
    ...     x, weight, bias = inputs
    ...     assert (x @ weight + bias).shape == (len(x), len(bias))
    >>> test_shapes_fit()
    """
    try:
        from hypothesis import strategies as st
        from hypothesis.extra.numpy import arrays
    except ImportError as error:
        raise MissingExtraError(
            "tinyvae.testing.points needs hypothesis: pip install 'tinyvae[testing]'"
        ) from error
    letters = sorted({letter for axis in axes for letter in axis} - {"1"})
    if len(letters) > len(LENGTHS) or not math.isfinite(high - low) or not low < high:
        raise OptionError(
            f"up to {len(LENGTHS)} letters and low < high, not {letters}, {low} and {high}"
        )
    values = st.integers(0, GRID).map(lambda k: low + (high - low) * k / GRID)

    def of_lengths(lengths: list[int]) -> SearchStrategy[Any]:
        length = dict(zip(letters, lengths, strict=False)) | {"1": 1}
        shapes = [tuple(length[letter] for letter in axis) for axis in axes]
        return st.tuples(
            *(arrays(np.float64, shape, elements=values, unique=True) for shape in shapes)
        )

    return st.permutations(LENGTHS).flatmap(of_lengths)


# Posteriors

DRAWS, FAR = 50_000, 5.0
"""Codes that are drawn, and standard errors that no true mean is off by: one in two million."""


def assert_posterior(posterior: Any, seed: int = 0) -> None:
    """Fail unless a posterior draws from its own density, and its gradients and its KL are right.

    Four encoder outputs are drawn, and 50,000 codes from each. Then

    - `draw` tells the same log q(z | x) as `log_prob` of what it has drawn;
    - of the codes in a box, the mean of 1 / q(z | x) is its volume, for 3^K boxes about the mean;
    - the gradient of E[f(z)] through the codes is that by the score of `log_prob`;
    - `kl` is the mean of log q(z | x) - log N(z; 0, 1).

    The second and fourth are done with the log q of `draw`. What is told by `has_density`,
    `has_score` and a `kl` that is None is left out.

    Parameters
    ----------
    posterior : tinyvae.distributions.Posterior
        With few latent dimensions, such as 2.
    seed : int
        Of the outputs and the codes.

    Raises
    ------
    AssertionError
        With what does not agree, and by how many standard errors.

    Examples
    --------
    >>> from tinyvae.distributions import Gaussian
    >>> assert_posterior(Gaussian(2, Noise(0)))
    """
    __tracebackhide__ = True
    noise = Noise(seed, "assert_posterior", backend="numpy")
    posterior.to(dtype="float64")
    for _ in range(4):
        rows = np.tile(noise.normal((posterior.outputs,), "float64") / 2, (DRAWS, 1))
        draw = noise.normal if posterior.noise == "normal" else noise.uniform
        _assert_drawn(posterior, rows, draw((DRAWS, posterior.noise_width), "float64"))


def _assert_drawn(posterior: Any, rows: np.ndarray, noise: np.ndarray) -> None:
    """The same for codes of one encoder output, which stands in each of the rows."""
    output = Tensor(rows, requires_grad=True)
    parameters = posterior.split(output)
    z, log_q = posterior.draw(parameters, noise)
    if (z.shape, log_q.shape) != ((DRAWS, posterior.latent), (DRAWS,)):
        raise AssertionError(f"codes are of shape {z.shape}, their log q of {log_q.shape}")
    if posterior.has_density:
        told = posterior.log_prob(parameters, z).numpy()
        np.testing.assert_allclose(told, log_q.numpy(), 1e-6, 1e-6, err_msg="draw, log_prob")
    _assert_volumes(z.numpy(), log_q.numpy())
    if posterior.kl is not None:
        normal = -(z.numpy() ** 2 + math.log(2 * math.pi)).sum(axis=1) / 2
        exact = posterior.kl(parameters).numpy()
        _assert_zero(log_q.numpy() - normal - exact, "kl, and the mean of log q - log p")
    if posterior.has_density and posterior.has_score:
        _assert_same_gradient(posterior, output, z)


def _assert_volumes(z: np.ndarray, log_q: np.ndarray) -> None:
    """The mean of 1 / q over what is in a box is its volume; the boxes reach 1.5 sigma far.

    They lie along the axes in which the codes are uncorrelated.
    """
    factor = np.linalg.cholesky(np.cov(z.T).reshape(z.shape[1], -1))
    whitened = np.linalg.solve(factor, (z - z.mean(axis=0)).T).T
    places = np.floor(whitened + 1.5)  # 0, 1, 2 along each axis
    for place in np.ndindex(*(3,) * z.shape[1]):
        share = (places == place).all(axis=1) * np.exp(-log_q) / np.diag(factor).prod()
        _assert_zero(share - 1, f"1 / q over box {place}, and its volume")


def _assert_same_gradient(posterior: Any, output: Tensor, z: Tensor) -> None:
    """Of E[f(z)] for the encoder's output: the path's df, and the score's (f - b) d log q."""
    held = z.detach()
    f = (z * z / (1 + z * z) + ops.tanh(z)).sum(axis=1)
    value = f.numpy()
    f.sum().backward()
    path = np.array(output.grad)
    output.zero_grad()
    posterior.log_prob(posterior.split(output), held).sum().backward()
    score = (value - value.mean())[:, None] * np.array(output.grad)
    for k, difference in enumerate((path - score).T):
        _assert_zero(difference, f"the gradient for output {k}, through codes and by the score")


def _assert_zero(values: np.ndarray, what: str) -> None:
    """Fail unless the mean of the values is 0, but for its standard error and round-off."""
    mean, error = values.mean(), values.std() / math.sqrt(len(values))
    if not abs(mean) <= FAR * error + 1e-6:
        raise AssertionError(f"{what}: they differ by {mean:.4g}, where {error:.2g} is usual")
