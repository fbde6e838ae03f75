"""Posteriors: each draws from its own density, and what is wrong in one is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exact_models import trapezoid
from scipy.optimize import brentq
from scipy.special import erf
from scipy.stats import norm

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.distributions import Gaussian, InverseAutoregressive, Laplace, Planar
from tinyvae.distributions.gaussian_mixture import mixture_sample, normal_cdf
from tinyvae.distributions.posteriors import POSTERIORS, drawn, posterior
from tinyvae.errors import OptionError
from tinyvae.testing import assert_posterior

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(40, 2, 2), dtype=np.uint8)


def made(name: str, latent: int, seed: int = 0) -> Any:
    return posterior(name, latent, tv.Noise(seed)).to(dtype="float64")


def parameters_of(q: Any, rows: int = 3, scale: float = 0.7) -> Any:
    return q.split(tv.Tensor(scale * RNG.normal(size=(rows, q.outputs))))


# All of them


@pytest.mark.parametrize("latent", [1, 2])
@pytest.mark.parametrize("name", POSTERIORS)
def test_a_posterior_draws_from_its_own_density(name: str, latent: int) -> None:
    assert_posterior(posterior(name, latent, tv.Noise(0)), seed=latent)


@pytest.mark.parametrize("name", [n for n in POSTERIORS if made(n, 1).has_density])
def test_a_density_integrates_to_1(backend: Backend, name: str) -> None:
    q, step = made(name, 1), 1e-3
    z = np.arange(-25, 25, step)[:, None]
    row = 0.7 * RNG.normal(size=q.outputs)
    parameters = q.split(tv.Tensor(np.tile(row, (len(z), 1))))
    density = np.exp(q.log_prob(parameters, tv.Tensor(z)).numpy())
    assert density.sum() * step == pytest.approx(1, abs=3e-3)  # a uniform's edges lie in a step


@pytest.mark.parametrize("latent", [1, 3])
@pytest.mark.parametrize("name", [n for n in POSTERIORS if made(n, 3).noise_width == 3])
def test_log_q_is_that_of_the_noise_less_the_change_of_volume(name: str, latent: int) -> None:
    q = made(name, latent)
    output = 0.7 * RNG.normal(size=(1, q.outputs))
    noise = drawn(q, tv.Noise(1), (1,), "float64")

    def draw(at: np.ndarray) -> Any:
        rows = tv.Tensor(np.tile(output, (len(at), 1)))
        return q.draw(q.split(rows), tv.Tensor(at).array)

    step = 1e-5 * np.eye(latent)
    slopes = (draw(noise + step)[0].numpy() - draw(noise - step)[0].numpy()) / 2e-5
    of_noise = -((noise**2 + np.log(2 * np.pi)).sum()) / 2 if q.noise == "normal" else 0.0
    wanted = of_noise - np.linalg.slogdet(slopes)[1]
    assert draw(noise)[1].item() == pytest.approx(wanted, abs=1e-7)


@pytest.mark.parametrize("name", [n for n in POSTERIORS if made(n, 2).has_density])
def test_the_score_has_the_expectation_0_where_a_posterior_says_so(name: str) -> None:
    q, count = made(name, 2), 20_000
    output = tv.Tensor(np.tile(0.7 * RNG.normal(size=q.outputs), (count, 1)), requires_grad=True)
    parameters = q.split(output)
    z = q.sample(parameters, drawn(q, tv.Noise(1), (count,), "float64")).detach()
    q.log_prob(parameters, z).sum().backward()
    score = np.array(output.grad)
    errors = score.std(axis=0) / np.sqrt(count) + 1e-12
    assert (abs(score.mean(axis=0)) < 5 * errors).all() == q.has_score


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("name", POSTERIORS)
def test_a_vae_with_it_trains_and_is_evaluated(backend: Backend, name: str, resident: bool) -> None:
    vae = tv.VAE((2, 2), 2, (8,), posterior=name)
    options = {"epochs": 5, "batch": 8, "learning_rate": 0.01, "resident": resident}
    history = tv.fit(vae, IMAGES, **options)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    found = tv.evaluate(vae, IMAGES)
    assert tv.log_likelihood(vae, IMAGES, 50).mean > -found.loss - 0.1
    parts = [found.kl_per_dimension, [found.kl]] if vae.posterior.is_factorised else [[], []]
    assert sum(parts[0]) == pytest.approx(sum(parts[1]), abs=1e-5)
    assert vae.reconstruct(IMAGES).shape == (40, 2, 2)


@pytest.mark.parametrize("name", POSTERIORS)
def test_codes_of_a_stand_in_are_those_of_numpy(name: str, backend: Backend) -> None:
    output = RNG.normal(size=(3, made(name, 2).outputs))

    def draw() -> Any:
        q = made(name, 2)
        z, log_q = q.draw(q.split(tv.Tensor(output)), drawn(q, tv.Noise(1), (3,), "float64"))
        return z.numpy(), log_q.numpy()

    here = draw()
    with tv.use("numpy"):
        wanted = draw()
    for found, expected in zip(here, wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10)


# What is wrong is found


class WrongSigma(Gaussian):
    def sample(self, parameters: Any, noise: Any) -> tv.Tensor:
        mean, log_variance = parameters
        return tv.gaussian_sample(mean, 2 * log_variance, tv.Tensor.wrap(noise))


class WrongDensity(Gaussian):
    def log_prob(self, parameters: Any, z: tv.Tensor) -> tv.Tensor:
        mean, log_variance = parameters
        return tv.gaussian_log_likelihood(z, mean, log_variance / 2)


class WrongKL(Gaussian):
    def kl(self, parameters: Any) -> tv.Tensor:
        return -super().kl(parameters)


class ShiftedKL(Gaussian):
    def kl(self, parameters: Any) -> tv.Tensor:
        mean, log_variance = parameters
        return tv.kl_standard_normal(mean, -log_variance)


class WrongScale(Laplace):
    def sample(self, parameters: Any, noise: Any) -> tv.Tensor:
        return super().sample(parameters[::-1], noise)


class NoDeterminant(Planar):
    def flow(self, parameters: Any, z: tv.Tensor) -> Any:
        moved, log_det = super().flow(parameters, z)
        return moved, log_det * 0


class WrongSign(InverseAutoregressive):
    def flow(self, parameters: Any, z: tv.Tensor) -> Any:
        moved, log_det = super().flow(parameters, z)
        return moved, -log_det


class OneComponent(POSTERIORS["mixture"]):  # type: ignore[misc]
    """Reparameterised as if the component had not been drawn: no gradient for the weights."""

    def sample(self, parameters: Any, noise: Any) -> tv.Tensor:
        means, log_variances, logits = parameters
        return super().sample((means, log_variances, logits.detach()), noise)


class OtherDraw(Gaussian):
    def draw(self, parameters: Any, noise: Any) -> Any:
        z, log_q = super().draw(parameters, noise)
        return z, log_q + 0.01


class NotPerImage(Gaussian):
    def log_prob(self, parameters: Any, z: tv.Tensor) -> tv.Tensor:
        return super().log_prob(parameters, z).sum()


WRONG = {
    WrongSigma: "1 / q over box",
    WrongDensity: "1 / q over box",
    WrongKL: "kl, and the mean",
    ShiftedKL: "kl, and the mean",
    WrongScale: "1 / q over box",
    NoDeterminant: "1 / q over box",
    WrongSign: "draw, log_prob|1 / q over box",
    OneComponent: "the gradient for output",
    OtherDraw: "draw, log_prob",
    NotPerImage: "of shape",
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("latent", [1, 2])
def test_a_posterior_with_an_error_is_refused(wrong: Any, latent: int) -> None:
    with pytest.raises(AssertionError, match=WRONG[wrong]):
        assert_posterior(wrong(latent, tv.Noise(0)))


# Flows


def test_a_planar_map_can_be_inverted_whatever_the_encoder_gives() -> None:
    q = made("planar:1", 1)
    z = np.arange(-40, 40, 0.01)[:, None]
    for scale in (1, 5, 30):
        for _ in range(20):
            row = scale * RNG.normal(size=q.outputs)
            parameters = q.split(tv.Tensor(np.tile(row, (len(z), 1))))
            moved, log_det = q.flow(parameters, tv.Tensor(z))
            assert (np.diff(moved.numpy()[:, 0]) >= 0).all()
            assert not np.isnan(log_det.numpy()).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_a_planar_map_all_but_stands_still_its_volume_is_no_nought(dtype: str) -> None:
    q = made("planar:1", 2)
    output = np.array([[0, 0, 0, 0, -6, -6, 6, 6, 0]], dtype=dtype)  # w u = -72, and b = 0
    _, log_det = q.flow(q.split(tv.Tensor(output)), tv.Tensor(np.zeros((1, 2), dtype)))
    assert log_det.item() == pytest.approx(-72 + np.log(np.e - 1), rel=1e-6)


def test_a_planar_map_of_no_direction_moves_no_code() -> None:
    q = made("planar:1", 2)
    z = RNG.normal(size=(1, 2))
    output = np.zeros((1, q.outputs))
    output[0, 4:6] = 3.0  # u, where w = b = 0
    moved, log_det = q.flow(q.split(tv.Tensor(output)), tv.Tensor(z))
    np.testing.assert_array_equal(moved.numpy(), z)
    assert log_det.item() == 0


def test_the_density_of_a_planar_flow_is_not_for_any_code() -> None:
    q = made("planar", 2)
    assert not q.has_density
    with pytest.raises(NotImplementedError, match="use draw"):
        q.log_prob(parameters_of(q), tv.Tensor(np.zeros((3, 2))))


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_each_dimension_of_an_autoregressive_map_depends_on_those_before_alone(latent: int) -> None:
    masked = made("iaf:1", latent).maps[0]
    z = tv.Tensor(RNG.normal(size=(1, latent)), requires_grad=True)
    context = tv.Tensor(RNG.normal(size=(1, latent)))
    for k in range(latent):
        for kind in (0, 1):
            z.zero_grad()
            masked(z, context)[kind][:, k].sum().backward()
            (slopes,) = np.array(z.grad)
            assert (slopes[:k] != 0).all()
            assert (slopes[k:] == 0).all()


def test_the_parameters_of_an_autoregressive_flow_are_trained() -> None:
    vae = tv.VAE((2, 2), 2, (8,), posterior="iaf:2")
    before = vae.posterior.state_dict()
    assert len(before) == 14
    tv.fit(vae, IMAGES, epochs=3, batch=8)
    for name, value in vae.posterior.state_dict().items():
        assert (value != before[name]).any(), name


@pytest.mark.parametrize("asked", ["planar:0", "iaf:1.5", "mixture:-2", "laplace:2"])
def test_a_number_that_a_posterior_does_not_take_is_refused(asked: str) -> None:
    with pytest.raises(OptionError, match=f"the posterior '{asked}'"):
        tv.VAE((2, 2), posterior=asked)


# Of the mixture


@pytest.mark.parametrize(("dtype", "atol"), [("float64", 8e-16), ("float32", 4e-7)])
def test_the_normal_distribution_function_is_exact_but_for_a_few_roundings(
    backend: Backend, dtype: str, atol: float
) -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [-np.inf, np.inf, 1e30]]).astype(dtype)
    got = backend.to_host(normal_cdf(backend.asarray(x)))
    assert got.dtype == dtype
    wanted = (1 + erf(x.astype("float64") / np.sqrt(2))) / 2
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


COMPONENTS, LATENT = 3, 2
PARTS = [
    np.array([0.2, -0.4, 0.5]),
    np.array([[-0.5, 0.3], [0.7, -0.2], [0.1, 0.9]]),
    np.array([[-0.5, 0.1], [0.2, -0.9], [-0.3, -0.2]]),
]


def test_the_gradients_of_a_mixture_are_those_of_its_expectations() -> None:
    # By quadrature: over the noise of a component, with the last number in the middle of its span.
    e, share = trapezoid(8, 0.25, LATENT)
    parts = [tv.Tensor(part[None], requires_grad=True) for part in PARTS]
    stretched = [tv.broadcast_to(p, shape=(len(e), *p.shape[1:])) for p in parts]
    weights = np.exp(PARTS[0]) / np.exp(PARTS[0]).sum()
    middles = norm.ppf(np.cumsum(weights) - weights / 2)
    total: Any = 0.0
    for weight, middle in zip(weights, middles, strict=True):
        noise = np.column_stack([e, np.full(len(e), middle)])
        value = curve(mixture_sample(*stretched, noise=noise))
        total = total + (value * tv.Tensor(weight * share)).sum()
    total.backward()
    for part, wanted in zip(parts, exact_gradients(e, share), strict=True):
        np.testing.assert_allclose(np.array(part.grad)[0], wanted, atol=1e-9)


def curve(z: tv.Tensor) -> tv.Tensor:
    """A function of codes in which the dimensions meet."""
    return tv.tanh(z[:, 0] + 2 * z[:, 1]) + z[:, 0] * z[:, 0] * z[:, 1]


def exact_gradients(e: np.ndarray, share: np.ndarray) -> list[np.ndarray]:
    """Of the sum over components of w E[f(mean + sigma e)], which is differentiable as it is."""
    logits, means, log_variances = parts = [tv.Tensor(p, requires_grad=True) for p in PARTS]
    weights = tv.exp(tv.log_softmax(logits))
    total: Any = 0.0
    for c in range(COMPONENTS):
        z = means[c] + tv.exp(log_variances[c] / 2) * tv.Tensor(e)
        total = total + weights[c] * (curve(z) * tv.Tensor(share)).sum()
    total.backward()
    return [np.array(part.grad) for part in parts]


def test_the_gradient_of_a_mixtures_code_is_that_at_a_fixed_quantile() -> None:
    noise = RNG.normal(size=(1, LATENT + 1))
    parts = [tv.Tensor(part[None], requires_grad=True) for part in PARTS]
    z = mixture_sample(*parts, noise=noise)
    found = []
    for k in range(LATENT):
        for part in parts:
            part.zero_grad()
        mixture_sample(*parts, noise=noise)[:, k].sum().backward()
        found.append([np.array(part.grad)[0] for part in parts])
    code, step = z.numpy()[0], 1e-5
    u = quantiles(code, *PARTS)
    for j, part in enumerate(PARTS):
        for index in np.ndindex(part.shape):
            ends = []
            for sign in (1, -1):
                moved = [p.copy() for p in PARTS]
                moved[j][index] += sign * step
                ends.append(code_at(u, code, *moved))
            slope = (ends[0] - ends[1]) / (2 * step)
            got = [found[k][j][index] for k in range(LATENT)]
            np.testing.assert_allclose(got, slope, atol=1e-8)


def quantiles(z: np.ndarray, logits: Any, means: Any, log_variances: Any) -> list[float]:
    """F_k(z_k | the dimensions before), by SciPy."""
    each = norm(means, np.exp(log_variances / 2))  # (C, K)
    found, r = [], np.exp(logits) / np.exp(logits).sum()
    for k in range(len(z)):
        found.append(float(r @ each.cdf(z)[:, k]))
        r = r * each.pdf(z)[:, k]
        r = r / r.sum()
    return found


def code_at(u: list[float], near: np.ndarray, *parts: np.ndarray) -> np.ndarray:
    """The code of these quantiles: one dimension after the other, by bisection."""
    z = near.copy()
    for k in range(len(z)):

        def off(at: float, k: int = k) -> float:
            z[k] = at
            return quantiles(z, *parts)[k] - u[k]

        z[k] = brentq(off, near[k] - 1, near[k] + 1, xtol=1e-14)
    return z


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gradient_of_a_vae_with_a_mixture_posterior_is_that_of_its_elbo(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vae = tv.VAE((1, 3), 1, (3,), "tanh", posterior="mixture:2").to(dtype="float64")
    state = vae.state_dict()
    vae.load_state_dict({name: rng.normal(size=p.shape) for name, p in state.items()})
    x, (e, share) = rng.random((1, 3)), trapezoid(9, 0.02)
    many = tv.Tensor(np.tile(x, (len(e), 1)))

    def gradients(total: tv.Tensor) -> list[np.ndarray]:
        total.backward()
        found = [np.array(p.grad) for p in vae.parameters()]
        for p in vae.parameters():
            p.zero_grad()
        return found

    means, log_variances, logits = vae.encode(many)
    weights, total = tv.softmax(logits), tv.Tensor(0.0, dtype="float64")
    for c in range(2):
        z = tv.gaussian_sample(means[:, c], log_variances[:, c], tv.Tensor(e))
        total = total + (weights[:, c] * costs(vae, many, z) * tv.Tensor(share)).sum()
    exact = gradients(total)
    held, total = weights.numpy()[0], tv.Tensor(0.0, dtype="float64")
    for c, middle in enumerate(norm.ppf(np.cumsum(held) - held / 2)):
        noise = np.column_stack([e, np.full(len(e), middle)])
        terms = tv.negative_elbo(vae, many, noise)
        total = total + ((terms.reconstruction + terms.kl) * tv.Tensor(held[c] * share)).sum()
    for got, wanted in zip(gradients(total), exact, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-7)


def costs(vae: tv.VAE, x: tv.Tensor, z: tv.Tensor) -> tv.Tensor:
    """-log p(x | z) - log p(z) + log q(z | x) of given codes."""
    log_q = vae.posterior.log_prob(vae.encode(x), z)
    log_p = vae.prior.log_prob(z, vae.encode)
    return vae.likelihood.cross_entropy(vae.decode(z), x) + log_q - log_p


def test_components_are_drawn_as_often_as_their_weights_say(backend: Backend) -> None:
    count = 100_000
    logits = np.tile(np.log([0.5, 0.2, 0.3]), (count, 1))
    means = np.tile([[-100.0], [0.0], [100.0]], (count, 1, 1))
    noise = tv.Noise(0).normal((count, 2), "float64")
    z = mixture_sample(tv.Tensor(logits), tv.Tensor(means), tv.Tensor(means * 0), noise=noise)
    shares = [(abs(z.numpy() - m) < 50).mean() for m in (-100, 0, 100)]
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.007)  # 5 standard errors


def test_a_mixture_of_one_component_is_the_gaussian(backend: Backend) -> None:
    noise = RNG.normal(size=(4, 3))
    mean, log_variance = (RNG.normal(size=(4, 2)) for _ in range(2))
    both = []
    for name, cut in (("gaussian", 2), ("mixture:1", 3)):
        q = made(name, 2)
        row = [mean, log_variance, np.zeros((4, 1))][:cut]
        output = tv.Tensor(np.concatenate(row, axis=1), requires_grad=True)
        parameters = q.split(output)
        z, log_q = q.draw(parameters, tv.Tensor(noise[:, : q.noise_width]).array)
        (curve(z) + log_q).sum().backward()
        slopes = backend.to_host(output.grad)
        both.append((z.numpy(), log_q.numpy(), slopes[:, :4], q.mean(parameters).numpy()))
    for one, other in zip(*both, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
