"""`evaluate` puts everything together: the figures agree with each other and say what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.autograd.derivations import gaussian_log_likelihood
from tinyvae.backend import Backend
from tinyvae.data.dataset import Dataset, Split
from tinyvae.distributions import Bernoulli, Gaussian, Prior
from tinyvae.errors import DataError, OptionError
from tinyvae.evaluation import report
from tinyvae.evaluation.elbo import elbo
from tinyvae.evaluation.report import entropy, evaluate

RNG = np.random.default_rng(0)
LABELS = np.arange(24) % 3
GREY = Split(RNG.integers(1, 255, size=(24, 2, 3), dtype=np.uint8), LABELS)
BLACK_AND_WHITE = Split(GREY.images // 128 * 255, LABELS)


def some_model(**parts: Any) -> tv.VAE:
    return tv.VAE((2, 3), latent=3, hidden=(5,), activation="tanh", **parts)


def deaf_model(**biases: float) -> tv.VAE:
    """One whose codes and pixels are the same for all images; biases as told, else 0."""
    model = tv.VAE((2, 3), latent=2, hidden=())
    state = {name: 0 * value for name, value in model.state_dict().items()}
    for part, value in biases.items():
        state[f"{part}.layers.0.bias"] += np.float32(value)
    model.load_state_dict(state)
    return model


class Wide(Prior):
    """A prior with twice the standard normal's sigma, which comes with no closed form."""

    def log_prob(self, z: tv.Tensor, encode: Any) -> tv.Tensor:
        return gaussian_log_likelihood(z, 0.0 * z, float(2 * np.log(2)))


class Estimated(Gaussian):
    """The Gaussian posterior without its closed form."""

    kl = None


class Flow(Gaussian):
    """One whose density is not known at any code."""

    has_density = False


class Levels(Bernoulli):
    kind = "levels"


class Density(Bernoulli):
    kind = "density"


# The figures agree


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_elbo_is_the_one_that_a_training_logs(backend: Backend, dynamic: bool) -> None:
    model = some_model()
    got, wanted = (measure(model, GREY, 5, dynamic) for measure in (evaluate, elbo))
    for name in vars(wanted):
        assert getattr(got, name) == getattr(wanted, name)
    assert got.loss == wanted.loss


@pytest.mark.parametrize(
    "parts",
    [{}, {"posterior": Estimated}, {"prior": Wide}, {"prior": "mixture:3"}, {"prior": "vamp:4"}],
)
def test_the_loss_is_the_sum_of_its_parts_to_a_millionth(
    backend: Backend, parts: dict[str, Any]
) -> None:
    result = evaluate(some_model(**parts), BLACK_AND_WHITE)
    surgery = result.surgery
    assert result.is_analytic == (parts == {})
    whole = result.reconstruction + surgery.mutual_information + surgery.marginal_kl
    assert whole == pytest.approx(result.loss, abs=1e-6)
    if "prior" not in parts:
        apart = surgery.total_correlation + sum(surgery.dimension_kl)
        assert apart == pytest.approx(surgery.marginal_kl, abs=1e-6)


def test_log_p_is_of_the_very_pixels_that_the_elbo_was_drawn_for(backend: Backend) -> None:
    model = deaf_model(decoder=np.log(3))  # q is the prior: log p(x) is log p(x | z) exactly
    result = evaluate(model, GREY, dynamic=True, samples=4)
    assert result.log_likelihood.mean == pytest.approx(-result.loss, rel=1e-6)
    assert (result.kl, result.entropy_floor) == (0, 0)


def test_a_standard_error_is_the_spread_over_images_by_the_root_of_their_number(
    backend: Backend,
) -> None:
    model = some_model()
    each = [elbo(model, GREY[k : k + 1]).kl for k in range(24)]
    result = evaluate(model, GREY)
    wanted = np.std(each, ddof=1) / np.sqrt(24)
    assert result.standard_errors["kl"] == pytest.approx(wanted, rel=1e-4)
    assert result.standard_errors["loss"] > 0
    assert np.isnan(evaluate(model, GREY[:1]).standard_errors["loss"])


def test_the_surgery_is_of_the_first_images_where_there_are_too_many(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = some_model()
    monkeypatch.setattr(report, "SURGERY", 7)
    whole, first = evaluate(model, GREY), evaluate(model, GREY[:7])
    assert whole.surgery.images == 7
    assert whole.surgery.mutual_information == pytest.approx(first.surgery.mutual_information)
    assert whole.surgery.marginal_kl == pytest.approx(first.surgery.marginal_kl)
    told = {name: how for name, _, how in whole.rows()}
    assert "of the first 7 images" in told["KL: mutual information"]


# The images


def test_of_a_data_set_the_test_images_are_taken_and_named(backend: Backend) -> None:
    data, model = Dataset("stripes", GREY[:9], GREY[9:]), some_model()
    result = evaluate(model, data)
    assert (result.split, result.images) == ("test images of stripes", 15)
    assert result.loss == evaluate(model, data.test).loss != evaluate(model, data.train).loss
    assert result.rows()[0] == ("images", "15", "test images of stripes")
    assert evaluate(model, GREY.images).split == "the images given"


def test_the_entropy_of_pixels_is_that_of_their_greys() -> None:
    p = GREY.images.reshape(24, 6) / 255
    wanted = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(axis=1).mean()
    assert entropy(GREY) == pytest.approx(wanted, rel=1e-12)
    assert entropy(BLACK_AND_WHITE) == 0


def test_the_best_bernoulli_of_grey_pixels_has_their_entropy_for_its_loss() -> None:
    greys = Split(np.full((5, 2, 3), 51, dtype=np.uint8))  # 1/5
    result = evaluate(deaf_model(decoder=np.log(1 / 4)), greys)
    assert result.loss == pytest.approx(result.entropy_floor, rel=1e-6)
    assert result.bits_per_dimension is None
    assert any("3.00 nats at least, their entropy" in note for note in result.notes)


def test_bits_per_dimension_are_of_pixels_that_have_a_probability() -> None:
    assert evaluate(deaf_model(), BLACK_AND_WHITE).bits_per_dimension == pytest.approx(1)
    levels = evaluate(some_model(likelihood=Levels), GREY)
    assert levels.bits_per_dimension == pytest.approx(levels.loss / 6 / np.log(2))
    assert levels.entropy_floor is None
    density = evaluate(some_model(likelihood=Density), GREY)
    assert (density.entropy_floor, density.bits_per_dimension) == (None, None)
    assert any("dequantised" in note for note in density.notes)


# What is said


def test_a_collapse_is_named_with_the_number_of_dimensions_and_what_to_try(
    backend: Backend,
) -> None:
    mean_and_log_variance = np.array([0.3, 0.0, 0.0, 0.0])  # KLs of 0.045 and 0
    (note,) = evaluate(deaf_model(encoder=mean_and_log_variance), BLACK_AND_WHITE).notes
    assert note == (
        "1 of 2 dimensions carry less than 0.01 nats: the posterior has collapsed there; try a "
        "smaller beta, a warm-up, or, where the KL comes apart into dimensions, free bits"
    )
    (note,) = evaluate(deaf_model(), BLACK_AND_WHITE).notes
    assert note.startswith("2 of 2 dimensions carry")


def test_without_a_kl_of_each_dimension_a_collapse_is_seen_by_the_means(backend: Backend) -> None:
    model = some_model(posterior=Estimated)
    result = evaluate(model, BLACK_AND_WHITE)
    still = 3 - result.active_units
    assert result.kl_per_dimension == []
    assert any("Monte Carlo" in name for name, *_ in result.rows())
    said = [note for note in result.notes if "collapsed" in note]
    assert [note.startswith(f"{still} of 3 dimensions have a posterior") for note in said] == [
        True
    ] * (still > 0)


def test_a_posterior_without_a_density_is_evaluated_but_for_the_surgery(backend: Backend) -> None:
    result = evaluate(some_model(posterior=Flow), BLACK_AND_WHITE)
    assert result.surgery is None
    assert not any("mutual" in name for name, *_ in result.rows())
    assert any(
        note.startswith("Flow has a density at its own codes alone") for note in result.notes
    )


def test_codes_that_tell_all_images_apart_are_said_to(backend: Backend) -> None:
    model = tv.VAE((2, 3), latent=2, hidden=())
    state = {name: 0 * value for name, value in model.state_dict().items()}
    state["encoder.layers.0.weight"][0, 0] = 1e4
    state["encoder.layers.0.bias"][2:] = -5
    model.load_state_dict(state)
    images = np.zeros((20, 2, 3), np.uint8)
    images[:, 0, 0] = np.arange(20)
    result = evaluate(model, images)
    assert result.surgery.mutual_information == pytest.approx(np.log(20), rel=1e-6)
    assert any("near log N = 3.00" in note for note in result.notes)


def test_an_estimate_that_rests_on_few_samples_is_said_to(backend: Backend) -> None:
    result = evaluate(some_model(), BLACK_AND_WHITE, samples=3)
    assert any("for 24 of 24 images log p(x) rests on fewer" in note for note in result.notes)
    assert {name: value for name, value, _ in result.rows()}["log p(x)"].startswith("-")


@pytest.mark.parametrize(("posterior", "count"), [("uniform", 1), ("gaussian", 0)])
def test_log_p_by_codes_that_do_not_go_everywhere_is_said_to_be_a_bound(
    posterior: str, count: int
) -> None:
    notes = evaluate(some_model(posterior=posterior), BLACK_AND_WHITE, samples=50).notes
    assert sum("it is a lower bound, however many" in note for note in notes) == count


def test_what_was_asked_for_stands_in_the_table(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyvae.evaluation.features.STEPS", 5)
    result = evaluate(some_model(), Dataset("stripes", GREY, GREY), samples=20, quality=True)
    names = [name for name, *_ in result.rows()]
    assert names[:4] == ["images", "-ELBO", "-log p(x | z)", "KL (analytic)"]
    assert {"log p(x)", "samples: frechet", "samples: coverage", "network's accuracy"} < {*names}
    plain = evaluate(some_model(), GREY)
    assert (plain.log_likelihood, plain.quality) == (None, None)
    assert not {"log p(x)", "samples: frechet"} & {name for name, *_ in plain.rows()}


# What is refused


def test_quality_is_refused_without_a_data_set_and_one_sample_is_too_few() -> None:
    with pytest.raises(DataError, match="give a whole data set"):
        evaluate(some_model(), GREY, quality=True)
    with pytest.raises(OptionError, match="from 2 up, not 1"):
        evaluate(some_model(), GREY, samples=1)


@pytest.mark.parametrize("dynamic", [False, True])
def test_no_images_and_pixels_outside_0_to_1_are_refused(dynamic: bool) -> None:
    with pytest.raises(DataError, match="no images"):
        evaluate(some_model(), GREY[:0], dynamic=dynamic)
    with pytest.raises(DataError, match=r"\[0, 1\]; these go from 2 to 2"):
        evaluate(some_model(), np.full((1, 2, 3), 2, "float32"), dynamic=dynamic)
