"""Normalising flows: a Gaussian, moved by maps whose change of volume is known.

If z = f(e) with e from q_0, then log q(z) = log q_0(e) - log |det df/de| (Rezende and Mohamed,
2015). `draw` goes forward, so that it knows log q of what it draws.
"""

from __future__ import annotations

from tinyvae.autograd import Tensor, ops
from tinyvae.autograd.derivations import gaussian_log_likelihood, gaussian_sample
from tinyvae.backend import Array
from tinyvae.distributions.part import whole
from tinyvae.distributions.posteriors import POSTERIORS, Parameters, Posterior, cut
from tinyvae.nn import Module, glorot_uniform
from tinyvae.noise import Noise


class Flow(Posterior):
    """What the flows share; the first two parameters are the Gaussian's mean and log variance."""

    is_factorised = False

    def flow(self, parameters: Parameters, z: Tensor) -> tuple[Tensor, Tensor]:
        """Where codes (B, K) of the Gaussian go, (B, K), and log |det| of the map, (B,)."""
        raise NotImplementedError

    def draw(self, parameters: Parameters, noise: Array) -> tuple[Tensor, Tensor]:
        first = gaussian_sample(*parameters[:2], Tensor.wrap(noise))
        z, log_det = self.flow(parameters, first)
        return z, gaussian_log_likelihood(first, *parameters[:2]) - log_det

    def sample(self, parameters: Parameters, noise: Array) -> Tensor:
        return self.draw(parameters, noise)[0]

    def mean(self, parameters: Parameters) -> Tensor:
        """Where the mean of the Gaussian goes; that is near the expected code, and not it."""
        return self.flow(parameters, parameters[0])[0]


class Planar(Flow):
    """Maps z + u tanh(w z + b), whose u, w and b the encoder gives: ``"planar:4"`` has 4 of them.

    For w u > -1 a map can be inverted; `_inside` sees to that (Rezende and Mohamed, 2015,
    appendix A.1). There is no formula for the inverse, and so no density of any code.
    """

    has_density = False

    def __init__(self, latent: int, noise: Noise, maps: float = 4) -> None:
        super().__init__(latent, noise)
        self.maps = whole(maps)

    @property
    def outputs(self) -> int:
        return 2 * self.latent + self.maps * (2 * self.latent + 1)

    def split(self, output: Tensor) -> Parameters:
        widths = [self.latent] * (2 + 2 * self.maps) + [1] * self.maps
        return cut(output, widths)  # mean, log variance, u and w for each map, then the b

    def flow(self, parameters: Parameters, z: Tensor) -> tuple[Tensor, Tensor]:
        us, ws, bs = (parameters[2 + k * self.maps :] for k in range(3))
        log_det: Tensor | float = 0.0
        for u, w, b in zip(us[: self.maps], ws[: self.maps], bs, strict=True):
            inside, room = _inside(u, w)
            h = ops.tanh(_dot(w, z) + b)  # (B, 1)
            # 1 + (1 - h^2) w u, where 1 would swallow what there is of a small room
            z, log_det = z + inside * h, log_det + ops.log(h * h + (1 - h * h) * room)
        return z, log_det.reshape(-1)  # type: ignore[union-attr]

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        raise NotImplementedError("a planar flow knows log q(z | x) of what it draws: use draw")


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(axis=1, keepdims=True)


def _inside(u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """u, moved along w until w u > -1, and 1 + w u, the room that is left, (B, 1).

    It becomes m(w u) = log(1 + (e - 1) e^(w u)) - 1. Unlike the m of the paper this one has
    m(0) = 0, so that a small w, as the first ones are, moves u no further than its own length.
    """
    inner = _dot(w, u)
    room = ops.softplus(inner + 0.5413248546129181)  # log(e - 1)
    return u + (room - 1 - inner) * w / ops.maximum(_dot(w, w), 1e-12), room


class Masked(Module):
    """Two dense layers of which output k of each kind sees the inputs before k alone, and context.

    Unit j of the hidden layer sees the inputs before j mod K, and feeds the outputs from that one
    on (Germain et al., 2015).
    """

    WIDE = 10
    """Hidden units for each dimension."""

    def __init__(self, latent: int, noise: Noise) -> None:
        hidden = self.WIDE * latent
        shapes = {"inward": (latent, hidden), "context": (latent, hidden)}
        shapes |= {"gate": (hidden, latent), "shift": (hidden, latent)}
        for name, shape in shapes.items():
            setattr(self, name, Tensor(glorot_uniform(*shape, noise), requires_grad=True))
        for name, width in {"bias": hidden, "gate_bias": latent, "shift_bias": latent}.items():
            zeros = noise.backend.xp.zeros(width, dtype="float32")
            setattr(self, name, Tensor(zeros, requires_grad=True))

    inward: Tensor
    context: Tensor
    gate: Tensor
    shift: Tensor
    bias: Tensor
    gate_bias: Tensor
    shift_bias: Tensor

    def __call__(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The gates and the shifts of codes (B, K), each (B, K)."""
        into, out = self._masks()
        hidden = ops.tanh(z @ (self.inward * into) + context @ self.context + self.bias)
        gate = hidden @ (self.gate * out) + self.gate_bias
        return gate, hidden @ (self.shift * out) + self.shift_bias

    def _masks(self) -> tuple[Tensor, Tensor]:
        xp, dtype, (latent, hidden) = self.inward.backend.xp, self.inward.dtype, self.inward.shape
        sees, place = xp.arange(hidden) % latent, xp.arange(latent)
        into, out = place[:, None] < sees, sees[:, None] <= place
        return Tensor.wrap(into.astype(dtype)), Tensor.wrap(out.astype(dtype))


class InverseAutoregressive(Flow):
    """Maps of which each dimension depends on those before it: ``"iaf:2"`` has 2 of them.

    z' = sigma z + (1 - sigma) m, where sigma = 1 / (1 + e^-s), and s and m come from the dimensions
    before and from a context that the encoder gives (Kingma et al., 2016). The next map goes
    through the dimensions the other way round. To invert one takes K passes.
    """

    OPEN = 2.0
    """Added to s, so that the first maps change little."""
    parts = 3

    def __init__(self, latent: int, noise: Noise, maps: float = 2) -> None:
        super().__init__(latent, noise)
        self.maps = [Masked(latent, noise) for _ in range(whole(maps))]

    def flow(self, parameters: Parameters, z: Tensor) -> tuple[Tensor, Tensor]:
        log_det: Tensor | float = 0.0
        for masked in self.maps:
            s, m = masked(z, parameters[2])
            sigma = ops.sigmoid(s + self.OPEN)
            z = (sigma * z + (1 - sigma) * m)[:, ::-1]
            log_det = log_det - ops.softplus(-s - self.OPEN).sum(axis=1)
        return z, log_det  # type: ignore[return-value]

    def log_prob(self, parameters: Parameters, z: Tensor) -> Tensor:
        for masked in reversed(self.maps):
            z = self._inverse(masked, z[:, ::-1], parameters[2])
        _, log_det = self.flow(parameters, z)
        return gaussian_log_likelihood(z, *parameters[:2]) - log_det

    def _inverse(self, masked: Masked, z: Tensor, context: Tensor) -> Tensor:
        """After pass k the first k dimensions are right, since they rest on those before alone."""
        found = z
        for _ in range(self.latent):
            s, m = masked(found, context)
            sigma = ops.sigmoid(s + self.OPEN)
            found = (z - (1 - sigma) * m) / sigma
        return found


POSTERIORS |= {"planar": Planar, "iaf": InverseAutoregressive}
