"""Modules, dense layers, and the one flat vector in which a model's parameters live."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeAlias

from tinyvae import backend as backends
from tinyvae.autograd import OPS, Tensor
from tinyvae.backend import Array, Backend
from tinyvae.errors import OptionError, RunError, ShapeError
from tinyvae.noise import Noise

Activation: TypeAlias = Callable[[Tensor], Tensor]
Initialise: TypeAlias = Callable[[int, int, Noise], Array]
RIDERS = 3
ACTIVATIONS = ("relu", "tanh", "softplus", "sigmoid", "leaky_relu", "elu", "gelu")


class Module:
    """Something with parameters: attributes that are Tensors or modules, also in lists and dicts.

    Examples
    --------
    >>> layer = Dense(3, 2, Noise(0))
    >>> [(name, parameter.shape) for name, parameter in layer.named_parameters()]
    [('weight', (3, 2)), ('bias', (2,))]
    """

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every tensor that requires a gradient, with its dotted name, in order of definition."""
        for name, value in vars(self).items():
            yield from _parameters_in(prefix + name, value)

    def parameters(self) -> list[Tensor]:
        """The parameters, each named after its place in the module."""
        named = dict(self.named_parameters())
        for name, parameter in named.items():
            parameter.name = name
        return list(named.values())

    def state_dict(self) -> dict[str, Any]:
        """Copies of the parameters on the host, by name."""
        return {name: parameter.numpy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the parameters of `state_dict`; all or, after an error, none of them.

        Raises
        ------
        RunError
            Names, shapes or dtypes are not those of this module.
        """
        named = dict(self.named_parameters())
        if named.keys() != state.keys():
            raise RunError(
                f"the weights do not fit: missing {sorted(named.keys() - state.keys())}, "
                f"not expected {sorted(state.keys() - named.keys())}"
            )
        for name, parameter in named.items():
            got = state[name]
            if got.shape != parameter.shape or str(got.dtype) != parameter.dtype:
                raise RunError(
                    f"the weights do not fit: {name} is {got.dtype} of shape {got.shape}, "
                    f"and should be {parameter.dtype} of shape {parameter.shape}"
                )
        for name, parameter in named.items():
            parameter.data = parameter.backend.from_host(state[name])

    def to(self, backend: str | Backend | None = None, dtype: str | None = None) -> Self:
        """Move the parameters to a backend or a dtype; make optimisers only after that."""
        for parameter in self.parameters():
            target = parameter.backend if backend is None else backends.get(backend)
            moved = target.asarray(parameter.numpy(), dtype or parameter.dtype)
            parameter.place(moved, target.xp.zeros_like(moved))
        return self

    @contextmanager
    def with_parameters(self, tensors: Sequence[Tensor]) -> Iterator[Self]:
        """Within the block it computes with these tensors in the place of its parameters.

        So a loss becomes a function of the parameters, to be differentiated or checked.

        >>> layer = Dense(1, 1, Noise(0))
        >>> two, one = Tensor([[2.0]]), Tensor([1.0])
        >>> with layer.with_parameters([two, one]):
        ...     layer(Tensor([[3.0]]))
        Tensor([[7.0]])
        """
        own = dict(self.named_parameters())
        shapes = [parameter.shape for parameter in own.values()]
        if [tensor.shape for tensor in tensors] != shapes:
            raise ShapeError(
                f"the parameters are of shapes {shapes}, not {[t.shape for t in tensors]}"
            )
        try:
            for name, tensor in zip(own, tensors, strict=True):
                _put(self, name.split("."), tensor)
            yield self
        finally:
            for name, parameter in own.items():
                _put(self, name.split("."), parameter)

    @property
    def backend(self) -> Backend:
        """Where the parameters are."""
        return self._first().backend

    @property
    def dtype(self) -> str:
        """What the parameters are: ``"float32"`` or ``"float64"``."""
        return self._first().dtype

    def _first(self) -> Tensor:
        return next(parameter for _, parameter in self.named_parameters())


def _parameters_in(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor) and value.requires_grad:
        yield name, value
    elif isinstance(value, Module):
        yield from value.named_parameters(f"{name}.")
    elif isinstance(value, (list, tuple, dict)):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _parameters_in(f"{name}.{key}", part)


def _put(owner: Any, path: Sequence[str], tensor: Tensor) -> None:
    """Set what the path leads to, through attributes, lists and dicts."""
    *way, last = path
    for key in way:
        owner = owner[_key(owner, key)] if _key(owner, key) is not None else getattr(owner, key)
    if _key(owner, last) is not None:
        owner[_key(owner, last)] = tensor
    else:
        setattr(owner, last, tensor)


def _key(owner: Any, name: str) -> Any:
    """``name`` as the key of a list or a dict; None for an object with attributes."""
    if isinstance(owner, dict):
        return name
    return int(name) if isinstance(owner, (list, tuple)) else None


def he_normal(fan_in: int, fan_out: int, noise: Noise) -> Array:
    """Draws from N(0, 2 / fan_in), shape (fan_in, fan_out): for ReLU (He et al., 2015)."""
    return noise.normal((fan_in, fan_out)) * math.sqrt(2 / fan_in)


def glorot_uniform(fan_in: int, fan_out: int, noise: Noise) -> Array:
    """Draws from U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    a = math.sqrt(6 / (fan_in + fan_out))
    return noise.uniform((fan_in, fan_out)) * (2 * a) - a


class Dense(Module):
    """A dense layer, x -> x W + b: rows (B, fan_in) to rows (B, fan_out).

    Parameters
    ----------
    fan_in, fan_out : int
        Lengths of the rows that come in and go out.
    noise : Noise
        Where the first weights are drawn; the bias begins at 0.
    initialise : callable
        `glorot_uniform`, `he_normal`, or a function of the same arguments.

    Examples
    --------
    >>> Dense(3, 2, Noise(0))(Tensor([[1.0, 2.0, 3.0]])).shape
    (1, 2)
    """

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        noise: Noise,
        initialise: Initialise = glorot_uniform,
    ) -> None:
        if min(fan_in, fan_out) < 1:
            raise OptionError(f"a dense layer joins at least 1 to 1, not {fan_in} to {fan_out}")
        self.weight = Tensor(initialise(fan_in, fan_out, noise), requires_grad=True, name="weight")
        bias = noise.backend.xp.zeros(fan_out, dtype="float32")
        self.bias = Tensor(bias, requires_grad=True, name="bias")

    def __call__(self, x: Tensor) -> Tensor:
        """X W + b, shape (B, fan_out), for rows ``x`` (B, fan_in)."""
        if x.ndim != 2 or x.shape[1] != self.weight.shape[0]:
            raise ShapeError(
                f"this layer takes rows of {self.weight.shape[0]} numbers, shape "
                f"(B, {self.weight.shape[0]}), not {x.shape}"
            )
        return OPS["affine"](x, self.weight, self.bias)


class Sequential(Module):
    """Layers one behind the other: modules, and functions of a Tensor such as ``tv.relu``."""

    def __init__(self, *layers: Activation) -> None:
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        """The result of the last layer."""
        for layer in self.layers:
            x = layer(x)
        return x


class MLP(Sequential):
    """Dense layers with an activation between them, and none after the last.

    Parameters
    ----------
    widths : sequence of int
        From the input to the output, for example ``(784, 400, 20)``.
    noise : Noise
        Where the first weights are drawn.
    activation : str
        One of `ACTIVATIONS`.
    initialise : callable
        As for `Dense`.

    Examples
    --------
    >>> MLP((4, 8, 2), Noise(0), "tanh")(Tensor([[1.0, 2.0, 3.0, 4.0]])).shape
    (1, 2)
    """

    def __init__(
        self,
        widths: Sequence[int],
        noise: Noise,
        activation: str = "relu",
        initialise: Initialise = glorot_uniform,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise OptionError(f"unknown activation {activation!r}; choose one of {ACTIVATIONS}")
        if len(widths) < 2:
            raise OptionError(f"an MLP has an input and an output width at least, not {widths}")
        layers: list[Activation] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [Dense(fan_in, fan_out, noise, initialise), OPS[activation]]
        super().__init__(*layers[:-1])


class FlatParameters:
    """Parameters laid end to end in one vector, and their gradients in another.

    The parameters become views, so that an optimiser is one sweep over ``values``.

    Attributes
    ----------
    values, gradients : (P,)
        Writing to ``values`` changes the parameters: call `announce` after it.
    exchanged : (P + 3,)
        What processes that train together add up: ``gradients``, and in the same memory
        behind them ``riders``, three numbers that ride with them.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        if not parameters:
            raise OptionError("there are no parameters to train")
        self.parameters = list(dict.fromkeys(parameters))  # a shared one counts once
        first = self.parameters[0]
        for other in self.parameters:
            if other.backend is not first.backend or other.dtype != first.dtype:
                raise OptionError(
                    f"{first.label} is {first.dtype} on {first.backend.name!r}, {other.label} is "
                    f"{other.dtype} on {other.backend.name!r}; one vector holds only parameters of "
                    "one kind: move the module with .to(...)"
                )
        xp, size = first.backend.xp, sum(p.size for p in self.parameters)
        values = xp.zeros(size, dtype=first.dtype)
        for parameter, view in zip(self.parameters, self._split(values), strict=True):
            view[...] = parameter.array
        self._place(values, xp.zeros(size + RIDERS, dtype=first.dtype))

    def _place(self, values: Array, exchanged: Array) -> None:
        self.values, self.exchanged = values, exchanged
        self.gradients, self.riders = exchanged[: len(values)], exchanged[len(values) :]
        self._views = self._split(values)
        for parameter, *views in zip(
            self.parameters, self._views, self._split(self.gradients), strict=True
        ):
            parameter.place(*views)

    def _split(self, vector: Array) -> list[Array]:
        """For each parameter its part of the vector, in its shape."""
        ends = [*itertools.accumulate(p.size for p in self.parameters)]
        parts = zip(self.parameters, [0, *ends], ends, strict=False)
        return [vector[start:end].reshape(p.shape) for p, start, end in parts]

    @contextmanager
    def seen_as(self, watch: Callable[[Array], Array]) -> Iterator[None]:
        """Within the block all vectors are what ``watch`` makes of them."""
        plain = self.values, self.exchanged
        self._place(*map(watch, plain))
        try:
            yield
        finally:
            self._place(*plain)

    def gather(self) -> Array:
        """The gradient vector, with zeros for parameters that the loss does not depend on."""
        for parameter, view in zip(self.parameters, self._views, strict=True):
            if not parameter.lives_in(view):
                raise OptionError(
                    f"parameter {parameter.label} has moved since this optimiser was made, to "
                    "another backend or optimiser; make a new optimiser"
                )
            if parameter.grad is None:
                parameter.grad = parameter.backend.xp.zeros_like(view)
        return self.gradients

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def announce(self) -> None:
        """Count a change of every parameter, so that a graph recorded before is refused."""
        for parameter in self.parameters:
            parameter.data = parameter.array
