"""`log_likelihood` averages importance weights in bounded memory and knows how sure it is."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from exact_models import Enumerated, all_images, small_vae
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tinyvae as tv
from tinyvae.backend import Backend
from tinyvae.data.dataset import Split
from tinyvae.errors import DataError, OptionError
from tinyvae.evaluation.likelihood import LogLikelihood, log_likelihood, log_mean

IMAGES = all_images(4).reshape(-1, 2, 2).astype("float32")

log_weights = arrays(np.float64, (3, 8), elements=st.floats(-20, 20))


def assert_same(a: LogLikelihood, b: LogLikelihood, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(a.per_image, b.per_image, rtol=rtol)
    np.testing.assert_allclose(a.standard_errors, b.standard_errors, rtol=rtol, atol=1e-7)
    np.testing.assert_allclose(a.effective_samples, b.effective_samples, rtol=rtol)


# The mean of weights


@given(log_weights)
def test_the_mean_of_weights_is_that_of_50_digits(log_w: np.ndarray) -> None:
    estimate, error, effective = log_mean([log_w])
    for k, row in enumerate(log_w):
        w = [mp.exp(mp.mpf(x)) for x in row]
        mean = mp.fsum(w) / 8
        variance = mp.fsum((x - mean) ** 2 for x in w) / 7  # of one weight
        assert estimate[k] == pytest.approx(float(mp.log(mean)), rel=1e-12, abs=1e-14)
        assert error[k] == pytest.approx(float(mp.sqrt(variance / 8) / mean), rel=1e-6, abs=1e-7)
        ratio = mp.fsum(w) ** 2 / mp.fsum(x**2 for x in w)
        assert effective[k] == pytest.approx(float(ratio), rel=1e-12)


@given(log_weights, st.lists(st.integers(0, 8), max_size=3), st.floats(-1e4, 1e4))
def test_the_mean_is_the_same_in_chunks_and_moves_with_the_weights(
    log_w: np.ndarray, cuts: list[int], shift: float
) -> None:
    whole = log_mean([log_w])
    chunks = [part for part in np.split(log_w + shift, sorted(cuts), axis=1) if part.size]
    estimate, error, effective = log_mean(chunks)
    np.testing.assert_allclose(estimate, whole[0] + shift, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(error, whole[1], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(effective, whole[2], rtol=1e-6)


def test_a_weight_that_outweighs_all_others_is_the_one_effective_sample() -> None:
    for order in ([0.0, 800.0, 0.0], [800.0, 0.0, 0.0], [0.0, 0.0, 800.0]):
        estimate, error, effective = log_mean([np.array([[x]]) for x in order])
        np.testing.assert_allclose(estimate, 800 - np.log(3))
        np.testing.assert_allclose((*effective, *error), 1)


def test_equal_weights_leave_no_error_and_all_samples_effective() -> None:
    estimate, error, effective = log_mean([np.full((1, 4), -750.0), np.full((1, 1), -750.0)])
    assert (estimate, error, effective) == (-750.0, 0.0, 5.0)


def test_weights_in_float32_are_added_up_in_float64() -> None:
    log_w = np.zeros((1, 2**20), dtype="float32")
    log_w[0, 0] = 20.0  # beside which float32 would lose each of the others
    estimate, *_ = log_mean(np.split(log_w, 1024, axis=1))
    assert estimate[0] == pytest.approx(np.log((np.exp(20.0) + 2**20 - 1) / 2**20), rel=1e-14)


# The estimate


def test_a_model_that_ignores_the_code_has_the_likelihood_of_its_pixels(backend: Backend) -> None:
    model = tv.VAE((2, 2), latent=3, hidden=())
    state = {name: 0 * value for name, value in model.state_dict().items()}
    state["decoder.layers.0.bias"] += np.float32(np.log(3))  # p = 3/4, and q is the prior
    model.load_state_dict(state)
    result, white = log_likelihood(model, IMAGES, samples=5), IMAGES.reshape(16, 4).sum(axis=1)
    wanted = white * np.log(3 / 4) + (4 - white) * np.log(1 / 4)
    np.testing.assert_allclose(result.per_image, wanted, rtol=1e-6)
    np.testing.assert_allclose(result.effective_samples, 5, rtol=1e-6)
    assert result.mean == pytest.approx(wanted.mean(), rel=1e-6)
    assert result.standard_error < 1e-6


def test_every_backend_and_both_dtypes_give_the_same_figure(backend: Backend) -> None:
    with tv.use("numpy"):
        wanted = log_likelihood(small_vae((2, 2)), IMAGES, samples=50)
    assert_same(log_likelihood(small_vae((2, 2)), IMAGES, samples=50), wanted)
    single = log_likelihood(small_vae((2, 2)).to(dtype="float32"), IMAGES, samples=2000)
    double = log_likelihood(small_vae((2, 2)), IMAGES, samples=2000)
    assert abs(single.mean - double.mean) < 4 * np.hypot(
        single.standard_error, double.standard_error
    )


@pytest.mark.parametrize("samples", [2, 3, 20])
def test_many_samples_and_images_go_through_in_parts_without_a_difference(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, samples: int
) -> None:
    model = small_vae((2, 2), latent=2)
    whole = log_likelihood(model, IMAGES, samples)
    monkeypatch.setattr("tinyvae.models.vae.ROWS", 7)  # the last parts are smaller
    assert_same(log_likelihood(model, IMAGES, samples), whole)


@pytest.mark.parametrize("samples", [2, 3, 20])
def test_no_more_codes_than_rows_are_decoded_at_once_and_all_of_them_in_the_end(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, samples: int
) -> None:
    sizes, decode = [], tv.VAE.decode
    monkeypatch.setattr("tinyvae.models.vae.ROWS", 7)
    monkeypatch.setattr(tv.VAE, "decode", lambda self, z: sizes.append(len(z)) or decode(self, z))
    log_likelihood(small_vae((2, 2)), IMAGES, samples)
    assert max(sizes) <= 7
    assert sum(sizes) == 16 * samples


def test_the_codes_of_large_images_are_decoded_a_few_at_a_time(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, decode = [], tv.VAE.decode
    monkeypatch.setattr("tinyvae.models.vae.PIXELS", 12)
    monkeypatch.setattr(tv.VAE, "decode", lambda self, z: sizes.append(len(z)) or decode(self, z))
    log_likelihood(small_vae((2, 2)), IMAGES[:2], samples=5)
    assert sizes == [3, 2, 3, 2]


def test_the_estimate_is_low_by_half_of_the_squared_error_and_more_samples_raise_it(
    backend: Backend,
) -> None:
    model = small_vae((2, 2))
    exact = Enumerated.of(model).log_evidence(all_images(4)[6])
    images = np.repeat(IMAGES[6:7], 8000, axis=0)
    few, some = (log_likelihood(model, images, samples) for samples in (5, 10))
    assert few.mean < some.mean < exact
    bias, half = some.mean - exact, (some.standard_errors**2).mean() / 2
    assert bias == pytest.approx(-half, abs=2 * some.standard_error)
    assert half > 4 * some.standard_error


def test_the_error_of_the_average_is_that_of_independent_images(backend: Backend) -> None:
    result = LogLikelihood(np.array([-1.0, -3.0]), np.array([0.3, 0.4]), np.array([5.0, 5.0]))
    assert (result.mean, result.standard_error) == (-2.0, pytest.approx(0.25))


def test_the_same_seed_gives_the_same_figure_and_another_seed_another(backend: Backend) -> None:
    model, split = small_vae((2, 2)), Split(IMAGES)
    first, same, other = (log_likelihood(model, split, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.per_image, same.per_image)
    assert (first.per_image != other.per_image).all()


def test_the_estimate_leaves_the_model_as_it_was(backend: Backend) -> None:
    model = small_vae((2, 2))
    before = model.state_dict()
    log_likelihood(model, IMAGES, samples=2)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_estimate_records_nothing(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    made, wrap = [], tv.Tensor.wrap
    monkeypatch.setattr(
        tv.Tensor, "wrap", staticmethod(lambda *a: made.append(wrap(*a)) or made[-1])
    )
    log_likelihood(small_vae((2, 2)), IMAGES, samples=2)
    assert len(made) > 5
    assert not any(tensor.requires_grad for tensor in made)


@pytest.mark.parametrize("samples", [1, 0, -3])
def test_fewer_than_two_samples_are_refused(samples: int) -> None:
    with pytest.raises(OptionError, match=f"from 2 up, not {samples}"):
        log_likelihood(small_vae((2, 2)), IMAGES, samples)


def test_no_images_and_pixels_outside_0_to_1_are_refused(backend: Backend) -> None:
    with pytest.raises(DataError, match="no images"):
        log_likelihood(small_vae((2, 2)), IMAGES[:0])
    with pytest.raises(DataError, match=r"\[0, 1\]; these go from 0 to 2"):
        log_likelihood(small_vae((2, 2)), 2 * IMAGES)
