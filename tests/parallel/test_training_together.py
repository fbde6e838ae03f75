"""Several ranks that train together are one process with the whole batch."""

from __future__ import annotations

import contextvars
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from hypothesis import given, settings
from hypothesis import strategies as st
from ranks import Threads, together, values

import tinyvae as tv
from tinyvae import training
from tinyvae.backend import Backend
from tinyvae.data.dataset import Split
from tinyvae.errors import NonFiniteError, OptionError, ParallelError
from tinyvae.evaluation.elbo import elbo
from tinyvae.models.beta_tcvae import BetaTCVAE
from tinyvae.models.factor_vae import FactorVAE
from tinyvae.parallel import Alone, Communicator
from tinyvae.training import Progress, Settings, Trainer

RNG = np.random.default_rng(0)
IMAGES = Split(RNG.integers(256, size=(22, 3, 4), dtype=np.uint8))
OTHERS = Split(RNG.integers(256, size=(9, 3, 4), dtype=np.uint8))
CURVES = tuple(
    f"{part}_{name}" for part in ("train", "valid") for name in ("loss", "reconstruction", "kl")
)


def trainer(group: Communicator, train: Split = IMAGES, **options: Any) -> Trainer:
    more = {name: options.pop(name, default) for name, default in OPTIONS.items()}
    model = tv.VAE((3, 4), latent=3, hidden=(6,), seed=more["model_seed"]).to(dtype=more["dtype"])
    chosen = Settings(**{"epochs": 2, "batch": 8} | options)
    return Trainer(model, train, OTHERS, chosen, more["callbacks"], more["checkpoint"], group)


OPTIONS: dict[str, Any] = {
    "model_seed": 0,
    "dtype": "float32",
    "callbacks": (),
    "checkpoint": None,
}


def gradients(group: Communicator, **options: Any) -> list[np.ndarray]:
    """The gradient vector of every step of an epoch in which the parameters stay where they are."""
    found, there = [], trainer(group, learning_rate=1e-30, **options)
    for x, noise in there._batches():
        there.train_step(x, noise)
        there.state.step += 1
        found.append(there.model.backend.to_host(there.state.optimiser.flat.gradients.copy()))
    return found


def assert_same_gradients(size: int, tolerance: float, **options: Any) -> None:
    whole = gradients(Alone(), **options)
    for each in values(together(size, lambda group: gradients(group, **options))):
        for mine, right in zip(each, whole, strict=True):
            assert abs(mine - right).max() <= tolerance * abs(right).max()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("size", [2, 3])
def test_the_gradients_of_several_ranks_are_those_of_one(
    backend: Backend, size: int, dtype: str, tolerance: float
):
    assert_same_gradients(size, tolerance, dtype=dtype, beta=2.0, binarise="dynamic")


def test_a_gradient_is_clipped_by_the_norm_of_the_whole(backend: Backend):
    assert_same_gradients(3, 1e-12, dtype="float64", clip=0.1)


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(2, 6))
def test_they_are_for_odd_batches_and_for_fewer_rows_than_ranks(rows: int, batch: int, size: int):
    train = IMAGES[:rows]
    assert_same_gradients(size, 1e-12, train=train, batch=min(batch, rows), dtype="float64")


def test_a_step_adds_up_one_vector_once(backend: Backend):
    def act(group: Threads) -> tuple[list[int], int]:
        there = trainer(group)
        there.run()
        return group.sums, there.state.optimiser.flat.gradients.size

    for sums, size in values(together(2, act)):
        assert sums == [size + 3] * 6  # two epochs of three steps


def run(group: Communicator, resume: bool = False, **options: Any) -> tuple[Any, Any]:
    there = trainer(group, **options)
    if resume:
        there.resume()
    return there.run(), there.model.state_dict()


def assert_same_run(found: tuple[Any, Any], right: tuple[Any, Any]) -> None:
    (rows, weights), (wanted, others) = found, right
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in wanted]
    for row, other in zip(rows, wanted, strict=True):
        assert [row[name] for name in CURVES] == pytest.approx([other[n] for n in CURVES], rel=1e-5)
    for name in others:
        np.testing.assert_allclose(weights[name], others[name], atol=1e-5, err_msg=name)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"binarise": "dynamic", "warm_up": 3, "beta": 2.0},
    {"binarise": "static", "clip": 0.1, "patience": 1, "learning_rate": 0.1, "epochs": 4},
]


@pytest.mark.parametrize("size", [1, 2, pytest.param(7, marks=pytest.mark.slow)])  # 6 rows
@pytest.mark.parametrize("options", SETTINGS)
def test_a_run_of_several_ranks_is_the_run_of_one(
    backend: Backend, size: int, options: dict[str, Any]
):
    whole = run(Alone(), **options)
    for found in values(together(size, lambda group: run(group, **options))):
        assert_same_run(found, whole)


def test_one_rank_that_mpiexec_started_is_one_process_bit_for_bit(backend: Backend):
    (rows, weights), (wanted, others) = values(together(1, run))[0], run(Alone())
    assert rows == wanted
    assert all((weights[name] == others[name]).all() for name in others)


def test_rank_0_alone_evaluates_and_all_log_the_same(monkeypatch: pytest.MonkeyPatch):
    evaluated: list[str] = []

    def seen(model: tv.VAE, *inputs: Any) -> Any:
        evaluated.append(threading.current_thread().name)
        return elbo(model, *inputs)

    monkeypatch.setattr("tinyvae.trainer.elbo", seen)
    (rows, _), (also, _) = values(together(2, run))
    assert rows == also
    assert evaluated == ["rank 0"] * 2


def test_all_ranks_end_with_the_same_parameters_bit_for_bit(backend: Backend):
    (rows, first), *others = values(together(3, run))
    for also, weights in others:
        assert also == rows
        assert all((weights[name] == first[name]).all() for name in first)


def test_rank_0_alone_writes_and_calls_back(tmp_path: Path):
    told: list[tuple[int, Progress]] = []

    def act(group: Threads) -> None:
        call = (lambda progress: told.append((group.rank, progress)),)
        run(group, callbacks=call, checkpoint=tmp_path / f"rank {group.rank}")

    values(together(2, act))
    assert {rank for rank, _ in told} == {0}
    assert [path.name for path in tmp_path.iterdir()] == ["rank 0"]


# To stop, and to go on


def interrupted(group: Threads, rank: int, when: tuple[int, int], **options: Any) -> None:
    """A run in which one rank is asked to stop during a step."""
    there = trainer(group, **options)
    step = there.train_step

    def ask(*inputs: Any) -> Any:
        if (group.rank, there.state.epoch, there.state.step) == (rank, *when):
            there.asked.stop = True
        return step(*inputs)

    there.train_step = ask  # type: ignore[method-assign]
    there.run()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("step", [0, 2])
def test_when_one_rank_is_asked_to_stop_all_do_and_any_number_goes_on(
    backend: Backend, tmp_path: Path, rank: int, step: int
):
    options = {"epochs": 3, "binarise": "dynamic", "checkpoint": tmp_path / "file"}
    found = together(2, lambda group: interrupted(group, rank, (2, step), **options))
    assert [type(error) for error in found] == [KeyboardInterrupt] * 2
    whole = run(Alone(), **options | {"checkpoint": None})
    content = (tmp_path / "file").read_bytes()
    for size in (1, 3):
        (tmp_path / "file").write_bytes(content)
        for again in values(together(size, lambda g: run(g, resume=True, **options))):
            assert_same_run(again, whole)


def test_where_there_is_no_checkpoint_every_rank_says_so(tmp_path: Path):
    found = together(2, lambda group: run(group, resume=True, checkpoint=tmp_path / "file"))
    assert ["there is no file" in str(error) for error in found] == [True, True]


@pytest.mark.parametrize("rate", [1e30, 1e39])
def test_a_loss_that_is_not_finite_stops_every_rank_and_is_traced(backend: Backend, rate: float):
    def act(group: Communicator) -> tuple[str, bool]:
        there = trainer(group, learning_rate=rate)
        before = there.model.state_dict()
        with pytest.raises(NonFiniteError) as caught:
            there.run()
        after = there.model.state_dict()
        return str(caught.value), all((after[name] == before[name]).all() for name in before)

    alone = act(Alone())
    assert values(together(3, act)) == [alone] * 3
    assert alone[1]
    assert "made" in alone[0]


# What is refused


def test_free_bits_are_refused_by_name():
    found = together(2, lambda group: run(group, free_bits=0.1))
    assert all(isinstance(error, OptionError) for error in found)
    assert "free_bits takes the larger of two averages over the batch" in str(found[0])
    run(Alone(), free_bits=0.1)


@pytest.mark.parametrize("kind", [BetaTCVAE, FactorVAE])
def test_a_loss_that_compares_the_codes_of_a_batch_is_refused(kind: type[tv.VAE]):
    def begin(group: Communicator) -> Trainer:
        return Trainer(kind((3, 4)), IMAGES, None, Settings(batch=8), group=group)

    for error in together(2, begin):
        assert isinstance(error, OptionError)
        assert f"the loss of {kind.__name__} compares all codes of a batch" in str(error)
    begin(Alone())


@pytest.mark.parametrize(
    ("differing", "words"),
    [
        (lambda rank: {"seed": rank}, "differ in seed: 0 on rank 0, and 1 on rank 1"),
        (lambda rank: {"learning_rate": 0.1 + rank}, "differ in learning_rate: 0.1 on rank 0"),
        (lambda rank: {"model_seed": rank}, "differ in the first weights: "),
        (lambda rank: {"train": IMAGES[rank:]}, "differ in the training images: "),
        (lambda rank: {"dtype": f"float{32 + 32 * rank}"}, "differ in the first weights: "),
    ],
)
def test_ranks_that_would_not_train_the_same_are_refused(differing: Any, words: str):
    found = together(2, lambda group: run(group, **differing(group.rank)))
    assert all(isinstance(error, ParallelError) for error in found)
    assert words in str(found[0])


# On a device


def test_a_shared_step_never_waits_for_the_device():
    def act(group: Threads) -> list[str]:
        there = trainer(group)
        x, noise = next(there._batches())
        for _ in range(5):  # what is set up at first use, and compared
            there.train_step(x, noise)
        with standin.count_syncs() as waits:
            there.train_step(x, noise)
            group.gather(None)  # so that both are done when either stops counting
        return waits

    with tv.use("standin"):
        assert values(together(2, act)) == [[], []]


def test_on_a_device_a_stop_is_seen_within_so_many_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tinyvae.trainer.LOOK", 4)
    seen: list[int] = []

    def act(group: Threads) -> None:
        call = (lambda progress: seen.append(progress.step),)
        interrupted(group, 1, (1, 1), batch=2, callbacks=call)

    with tv.use("standin"):
        found = together(2, act)
    assert [type(error) for error in found] == [KeyboardInterrupt] * 2
    assert seen == [1, 2, 3, 4]


def test_ranks_that_would_not_all_resume_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    groups = contextvars.ContextVar("group")
    monkeypatch.setattr(training, "joined", lambda _: nullcontext(groups.get()))

    def fit(group: Threads) -> None:
        groups.set(group)
        tv.fit(tv.VAE((3, 4)), IMAGES, checkpoint=tmp_path / "file", resume=group.rank == 1)

    for error in together(2, fit):
        assert isinstance(error, ParallelError)
        assert "differ in resume: False on rank 0, and True on rank 1" in str(error)
