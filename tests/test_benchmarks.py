"""Each benchmark runs on a tiny setting and writes what its README promises; no time is judged."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import matplotlib.image
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
EVERYWHERE = {"name", "config", "versions", "machine", "rows", "floors"}
TORCH, JAX, NUMBA = (find_spec(name) is not None for name in ("torch", "jax", "numba"))


@pytest.fixture
def benchmark(tmp_path: Path):
    def run(name: str, *options: str) -> dict[str, Any]:
        out = tmp_path / "result.json"
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--out", str(out), *options]
        env = os.environ | {"OMP_NUM_THREADS": "1"}  # tests run side by side
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        result = json.loads(out.read_text())
        assert result["name"] == name
        assert result.keys() >= EVERYWHERE
        assert result["versions"].keys() >= {"python", "numpy", "tinyvae"}
        assert result["machine"].keys() == {"cpu", "cores", "system", "threads"}
        assert result["machine"]["threads"]["OMP_NUM_THREADS"] == "1"
        assert all(row.keys() == result["rows"][0].keys() for row in result["rows"])
        assert all(key in done.stdout for key in result["rows"][0])
        assert str(tmp_path) not in out.read_text()
        return result

    return run


def column(result: dict[str, Any], name: str) -> list[Any]:
    return [row[name] for row in result["rows"]]


def test_the_interval_over_any_number_of_seeds_is_students(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.stats import sem, t

    monkeypatch.syspath_prepend(FOLDER)
    from priors import half_interval

    for count in (2, 3, 6, 20):
        values = [float(k * k) for k in range(count)]
        low, high = t.interval(0.95, count - 1, scale=sem(values))
        assert half_interval(values) == pytest.approx((high - low) / 2)


@pytest.mark.slow
def test_mnist_runs_every_contestant(benchmark):
    pytest.importorskip("sklearn")
    result = benchmark("mnist_10_epochs", "--data", "digits", "--epochs", "2", "--seeds", "3")
    contestants = ["tinyvae", "torch"] if TORCH else ["tinyvae"]
    assert column(result, "contestant") == contestants
    assert result["config"]["seeds"] == [3]
    assert column(result, "seed") == [3] * len(contestants)
    for row in result["rows"]:
        assert row["elbo"] == pytest.approx(row["bce"] + row["kl"])
        assert 10 < row["elbo"] < 45  # of 64 pixels: below log 2 for each
        assert 0 < row["train_s"] < row["process_s"]
        assert row["peak_mb"] > 10


STEPS = [
    "tinyvae",
    *["tinyvae_numba"] * NUMBA,
    *["torch", "torch_fused"] * TORCH,
    *["jax"] * JAX,
    "products",
]
SHORT = ("--rounds", "2", "--lasting", "0.01", "--contestants", *STEPS)  # to compile takes long


@pytest.mark.slow
def test_priors_compares_each_with_the_standard_normal_and_goes_on_where_it_was(
    benchmark, tmp_path
):
    pytest.importorskip("sklearn")
    sizes = ("--epochs", "2", "--images", "20", "--samples", "10", "--seeds", "0", "1")
    first = benchmark("priors", *sizes, "--priors", "mixture:3", "fitted:2")
    rows = sorted((tmp_path / "priors").glob("*/row.json"))
    written = [row.stat().st_mtime_ns for row in rows]
    assert len(written) == 6
    again = benchmark("priors", *sizes, "--priors", "mixture:3", "fitted:2")
    assert [row.stat().st_mtime_ns for row in rows] == written
    assert again == first
    assert column(first, "prior") == ["normal", "mixture:3", "fitted:2"] * 2
    log_p = dict(
        zip(
            zip(column(first, "prior"), column(first, "seed"), strict=True),
            column(first, "log_p"),
            strict=True,
        )
    )
    for row in first["gains"]:
        each = [log_p[row["prior"], seed] - log_p["normal", seed] for seed in (0, 1)]
        assert row["gain"] == pytest.approx(sum(each) / 2)
        assert row["low"] < row["gain"] < row["high"]
    assert matplotlib.image.imread(tmp_path / "result.png").shape[0] > 100


@pytest.mark.slow
def test_hair_colour_tells_how_much_every_factor_moves(benchmark, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    sizes = ("--count", "1000", "--faces", "20", "--hidden", "16", "--latent", "4")
    result = benchmark(
        "hair_colour", *sizes, "--epochs", "1", "--reader-epochs", "1", "--degree", "1"
    )
    factors = column(result, "factor")
    assert len(factors) == 10
    moved = result["rows"][factors.index("hair_colour")]
    for kind in ("each", "mean", "farthest", "floor", "rebuilt"):
        assert moved[kind] == pytest.approx(1)
    assert [row["degree"] for row in result["degrees"]] == [1, 2, 3]
    worst = max(row["each"] for row in result["rows"] if row["factor"] != "hair_colour")
    assert result["degrees"][0]["each"] == worst
    assert all(row["floor"].partition(" ")[0] in factors for row in result["floors"])
    for suffix in (".png", ".gif"):
        assert (tmp_path / "result").with_suffix(suffix).stat().st_size > 1000


@pytest.mark.slow
def test_likelihood_measures_the_same_as_torch(benchmark):
    pytest.importorskip("sklearn")
    sizes = ("--images", "30", "--compared", "20", "--samples", "50", "--rounds", "1")
    result = benchmark("likelihood", "--data", "digits", *sizes)
    whole, *compared = result["rows"]
    assert (whole["contestant"], whole["images"]) == ("tinyvae", 30)
    assert [row["contestant"] for row in compared] == ["tinyvae", "torch"] * TORCH
    assert all(row["s"] > 0 and row["peak_mb"] > 10 for row in result["rows"])
    if TORCH:
        ours, theirs = compared
        assert abs(ours["log_p"] - theirs["log_p"]) < 5 * (ours["error"] + theirs["error"])


@pytest.mark.slow
def test_disentanglement_is_measured_in_every_way_and_goes_on_where_it_was(benchmark, tmp_path):
    pytest.importorskip("sklearn")
    runs = ["vae:1", "beta-tcvae:4", "factor-vae:4", "capacity-vae:1"]
    sizes = ["--count", "320", "--size", "16", "--hidden", "8", "--latent", "3", "--epochs", "1"]
    options = [*sizes, "--seeds", "0", "--cache", str(tmp_path / "cache"), "--runs"]
    result = benchmark("disentanglement", *options, *runs)
    assert column(result, "model") == [part.partition(":")[0] for part in runs]
    for row in result["rows"]:
        assert all(-0.01 < row[key] <= 1 for key in ("mig", "mig_means", "sap", "votes"))
        assert row["reconstruction"] > row["kl"] > row["tc"] - 0.1
    assert [len(row["mig_each"]) for row in result["factors"]] == [5] * 4
    assert len(result["floors"]) == 2
    names = ("result", "result-vae-1", "result-beta-tcvae-4")
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in names)
    again = benchmark("disentanglement", *options, *runs[:2])  # trained for the same seconds
    assert again["rows"] == result["rows"][:2]


@pytest.mark.slow
def test_step_checks_before_it_times(benchmark):
    cases = ("64-32-2, batch 32", "IWAE k 50, 784-200-200-50, batch 20")
    result = benchmark("step", "--cases", *cases, *SHORT)
    assert column(result, "case") == [case for case in cases for _ in STEPS]
    assert column(result, "contestant") == STEPS * 2
    assert [row["contestant"] for row in result["checks"]] == STEPS[1:-1] * 4
    for row in result["checks"]:
        allowed = {"float64": 1e-6, "float32": 1e-3}[row["dtype"]]
        assert (
            max(row[what] for what in ("loss", "gradients", "last_gradients", "moves")) <= allowed
        )
    assert all(row["ms_low"] <= row["ms_median"] <= row["ms_high"] for row in result["rows"])
    assert all(row["ratio_median"] == 1 for row in result["rows"] if row["contestant"] == "tinyvae")


@pytest.mark.slow
def test_the_step_that_torch_compiles_is_checked_and_timed(benchmark):
    pytest.importorskip("torch")
    if which("g++") is None:
        pytest.skip("torch.compile needs a compiler: install g++")
    options = ("--rounds", "1", "--lasting", "0.01", "--contestants", "torch_compiled")
    result = benchmark("step", "--cases", "64-32-2, batch 32", *options)
    assert column(result, "contestant") == ["tinyvae", "torch_compiled"]
    assert result["checks"][0]["gradients"] < 1e-12


def test_a_contestant_that_does_not_compute_the_same_is_refused(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from agreement import compare, refuse
    from cases import Case
    from tinyvae_vae import TinyvaeStep

    class Loss(TinyvaeStep):
        def __call__(self, noise):
            return super().__call__(noise) * (1 + 3e-6)

    class Replayed(TinyvaeStep):
        calls = 0

        def __call__(self, noise):
            self.calls += 1
            return super().__call__(noise * (1 + 1e-4 * (self.calls > 4)))

    class Gradient(TinyvaeStep):
        def gradients(self):
            *others, last = super().gradients()
            last[0] += 3e-6 * abs(last).max()
            return [*others, last]

    class Noise(TinyvaeStep):
        def __call__(self, noise):
            return super().__call__(noise * (1 + 1e-4))

    class Rate(TinyvaeStep):
        def __call__(self, noise):
            self.trainer.state.optimiser.learning_rate *= 1 + 3e-6
            return super().__call__(noise)

    class Broken(TinyvaeStep):
        def __call__(self, noise):
            return super().__call__(noise) * float("nan")

    class Later(TinyvaeStep):
        calls = 0

        def gradients(self):
            self.calls += 1
            return [g * (1 + 3e-6 * (self.calls > 1)) for g in super().gradients()]

    planted = (Loss, Later, Replayed, Gradient, Noise, Rate, Broken)
    loads = {kind.__name__: lambda kind=kind: kind for kind in (TinyvaeStep, *planted)}
    for case in (Case(12, (7, 6), 3, 5), Case(12, (7,), 3, 5, k=4)):
        refuse(
            compare({"one": lambda: TinyvaeStep, "other": lambda: TinyvaeStep}, case, 0, "float64")
        )
        for row in compare(loads, case, 0, "float64"):
            with pytest.raises(SystemExit, match=f"{row['contestant']} and TinyvaeStep do not"):
                refuse([row])


def test_every_promise_of_a_step_is_of_a_case_and_a_contestant(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from step import CASES, FLOORS

    contestants = {"torch", "torch_compiled", "jax", "products"}
    assert all(case in CASES and name in contestants for case, name in FLOORS)


@pytest.mark.parametrize(("k", "decoded"), [(0, 5), (3, 15)])
def test_the_bare_products_are_those_of_every_layer(monkeypatch, k, decoded):
    monkeypatch.syspath_prepend(FOLDER)
    from cases import Case

    encoder, decoder = [(5, 9, 7), (5, 7, 4)], [(decoded, 2, 7), (decoded, 7, 9)]
    assert Case(9, (7,), latent=2, batch=5, k=k).products == encoder + decoder


@pytest.mark.slow
def test_step_sizes_draws_what_it_measures(benchmark, tmp_path):
    options = ("--largest", "100", "--rounds", "1", "--lasting", "0.01")
    result = benchmark("step_sizes", *options, "--contestants", "tinyvae", "products")
    sizes = [("batch", 32), ("batch", 64), ("width", 100), *(("latent", n) for n in (2, 5, 20, 50))]
    each = [(row["axis"], row["size"], row["contestant"]) for row in result["rows"]]
    assert each == [(*size, name) for size in sizes for name in ("tinyvae", "products")]
    assert matplotlib.image.imread(tmp_path / "result.png").std() > 0.05


@pytest.mark.slow
def test_gpu_goes_through_every_part_on_a_cpu(benchmark, tmp_path):
    pytest.importorskip("sklearn")
    others = ["torch"] * TORCH + ["jax"] * JAX  # to compile takes long
    names = ["tinyvae", "tinyvae_replayed", *others]
    options = ("--rounds", "2", "--lasting", "0.001", "--contestants", *names)
    result = benchmark("gpu", "--device", "cpu", *options)
    assert result["config"]["device"] == "cpu"
    assert result["floors"] == []  # of a CPU nothing is promised
    assert not result["failures"]
    assert [row["contestant"] for row in result["devices"]] == names
    assert [(row["k"], row["dtype"]) for row in result["checks"]] == [
        (k, dtype) for k in (0, 3) for dtype in ("float64", "float32") for _ in names[1:]
    ]
    sizes = [("steps", 8), ("steps", 32), ("precision", 32), ("iwae", 3), ("widths", 16)]
    sizes = [*sizes, ("widths", 32)]
    found = [(row["part"], row["size"], row["contestant"]) for row in result["rows"]]
    assert found == [(*size, name) for size in sizes for name in names]
    assert all(0 < row["ms_low"] <= row["ms_median"] <= row["ms_high"] for row in result["rows"])
    assert all(row["share"] > 0 for row in result["rows"])
    assert {row["run"] for row in result["mnist"]} == {1, 2}
    losses = column({"rows": result["mnist"]}, "elbo")
    assert max(losses) - min(losses) < 2  # of 64 pixels, after an epoch
    assert [row["contestant"] for row in result["memory"]] == names
    assert matplotlib.image.imread(tmp_path / "result.png").std() > 0.05


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rounds", "0"), "'0' is not a number from 1 up"),
        (("--rounds", "few"), "'few' is not a number from 1 up"),
        (("--out", "steps.png"), "'steps.png' does not end in .json"),  # a picture's own place
    ],
)
def test_a_benchmark_refuses_what_it_could_not_report(options, said, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    from harness import parser

    with pytest.raises(SystemExit):
        parser("", rounds=3).parse_args(options)
    assert said in capsys.readouterr().err


def test_gpu_says_what_to_do_where_there_is_none(tmp_path):
    import tinyvae as tv

    with contextlib.suppress(tv.errors.BackendError):
        pytest.skip(f"there is a GPU: {tv.backend.get('cupy')}")
    command = [sys.executable, str(FOLDER / "gpu.py"), "--contestants", "tinyvae"]
    command += ["--out", str(tmp_path / "result.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "tinyvae finds no gpu here: BackendError: backend 'cupy'" in done.stderr
    assert "Traceback" not in done.stderr
    assert "With `--device cpu` the same program" in done.stderr


@pytest.mark.parametrize("k", [0, 3])
def test_the_steps_for_a_gpu_do_the_same_on_a_device_that_is_not_the_host(monkeypatch, k):
    monkeypatch.syspath_prepend(FOLDER)
    import standin  # noqa: F401 - registers it
    from agreement import STEPS, differences, first_steps, refuse
    from cases import Case
    from gpu_tinyvae import make
    from tinyvae_vae import fit_noises

    import tinyvae as tv

    case, found = Case(12, (7,), 3, 5, k=k), {}
    for backend in ("numpy", "standin"):
        for name in ("tinyvae", "tinyvae_replayed"):
            with tv.use(backend):
                noises = () if k else fit_noises(case, "float64", STEPS + 1)
                made = partial(make, name, case, 0)
                found[backend, name] = first_steps(
                    lambda _, *given, made=made: made(*given), case, 0, "float64", noises
                )
    rows = differences(found, "float64")
    assert [row["contestant"][0] for row in rows] == ["numpy", "standin", "standin"]
    assert all(row["last_gradients"] < 1e-12 for row in rows)
    refuse(rows)


def test_the_loop_of_fit_draws_the_noise_that_the_others_are_given(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from agreement import STEPS, differences, first_steps
    from cases import Case
    from tinyvae_vae import FitStep, TapedStep, fit_noises

    case = Case(12, (7,), 3, 5)
    noises = fit_noises(case, "float64", STEPS + 1)
    makers = {"taped": TapedStep, "fit": FitStep}
    found = {name: first_steps(make, case, 0, "float64", noises) for name, make in makers.items()}
    assert differences(found, "float64")[0]["moves"] < 1e-12
    found["taped"] = first_steps(TapedStep, case, 0, "float64", noises[::-1])
    assert differences(found, "float64")[0]["loss"] > 1e-6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile, by itself
def test_the_graph_of_torch_is_the_step_of_torch(monkeypatch):
    pytest.importorskip("torch")
    if which("g++") is None:
        pytest.skip("torch.compile needs a compiler: install g++")
    monkeypatch.syspath_prepend(FOLDER)
    import torch
    from agreement import differences, first_steps
    from cases import Case
    from torch_vae import GraphStep, TorchStep

    case = Case(12, (7,), 3, 5)
    makers = {"torch": TorchStep, "graph": GraphStep}
    found = {name: first_steps(make, case, 0, "float64") for name, make in makers.items()}
    (row,) = differences(found, "float64")
    assert max(row["loss"], row["gradients"], row["moves"]) < 1e-12
    weights, x, noise = case.draw(0)
    step = GraphStep(case, weights, x, "float64")
    losses = [float(step(noise)) for _ in range(3)]
    step.restart(weights)
    assert [float(step(noise)) for _ in range(3)] == losses
    assert float(step(noise[:2], torch.tensor([1, 0]))) > 0  # two rows, of a graph of their own


def test_a_wait_is_counted_once_and_only_within_the_block(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from syncs import counted

    class Base:
        def get(self, blocking=True):
            return 3.0

        def __float__(self):
            return self.get()

    class Array(Base):
        pass

    class Stream:
        def synchronize(self):
            raise RuntimeError

    before = vars(Array).copy()
    with counted([(Array, "get"), (Array, "__float__"), (Stream, "synchronize")]) as waits:
        assert float(Array()) == Array().get() == Array().get(blocking=False) == 3
        with pytest.raises(RuntimeError):
            Stream().synchronize()
        Array().get()
    Array().get()
    assert waits == {"__float__": 1, "get": 2, "synchronize": 1}
    assert vars(Array) == before


def test_a_contestant_that_fails_loses_that_answer_alone(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import gpu_parts

    class Contestant:
        def __init__(self, name):
            self.name = name

        __enter__, __exit__ = (lambda self: self), (lambda self, *_: None)

        def ask(self, do, **question):
            self.do = do

        def answer(self):
            if self.name == "gone":
                raise SystemExit("gone broke off")
            return {"failed": "too large"} if (self.name, self.do) == ("poor", "grow") else {"n": 1}

    monkeypatch.setattr(gpu_parts, "Contestant", Contestant)
    with contextlib.ExitStack() as stack:
        crew = gpu_parts.Crew(stack, {name: (name, {}) for name in ("rich", "poor", "gone")})
        assert crew.ask(crew.names, "grow") == {"rich": {"n": 1}}
        assert crew.names == ["rich", "poor"]
        assert crew.one("poor", "stay") == {"n": 1}
        assert crew.one("gone", "stay") is None
    assert crew.failures == [
        {"contestant": "poor", "asked": "grow", "failed": "too large"},
        {"contestant": "gone", "asked": "grow", "failed": "gone broke off"},
    ]


def test_what_is_promised_of_a_gpu_follows_from_what_was_found(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from dataclasses import replace

    from gpu_parts import SIZES, Bench
    from gpu_report import floors

    sizes = SIZES["gpu"]
    bench = Bench(None, None, sizes)
    assert floors(bench) == []
    ours, other = {"tinyvae_replayed": [2.0, 4.0, 6.0]}, [4.0, 4.0, 4.0]
    bench.times[sizes.base, "float32"] = ours | {"torch_compiled": other, "jax": [1.0, 1.0, 1.0]}
    large = replace(sizes.base, batch=4096)
    slower = {"torch": [9.0, 9.0, 3.0], "torch_compiled": [5.0, 5.0, 5.0]}
    bench.times[large, "tf32"] = ours | slower
    about = {"contestant": "tinyvae_replayed", "run": 1}
    bench.tables["mnist"] = [
        about | {"precision": precision, "seed": seed, "train_s": seconds, "elbo": elbo}
        for precision, seed, seconds, elbo in (
            ("float32", 0, 3.0, 105.4),
            ("float32", 1, 0.5, 107.0),
            ("tf32", 0, 0.5, 105.0),
            ("tf32", 1, 0.5, 107.3),
            ("bfloat16", 0, 0.5, 106.5),
        )
    ]
    bench.tables["syncs"] = [{"syncs_steps": 1, "syncs_epoch": 9}]
    found = {row["floor"]: (row["median"], row["kept"]) for row in floors(bench)}
    assert found == {
        "step, batch 128, tinyvae_replayed / torch_compiled": (1.0, "yes"),
        "step, batch 128, tinyvae_replayed / jax": (4.0, "NO"),
        "batch 4096, tf32, share of the rate, tinyvae / torch": (1.25, "yes"),
        "ten epochs of MNIST, a process's first, s": (3.0, "NO"),
        "ten epochs of MNIST, later ones, s": (0.5, "yes"),
        "-ELBO of seed 0": (105.4, "yes"),
        "-ELBO of seed 1": (107.0, "NO"),
        "waits of the host in the steps of an epoch": (1, "yes"),
        "-ELBO, tf32 from float32": (pytest.approx(0.05), "yes"),
        "-ELBO, bfloat16 from float32": (pytest.approx(0.3), "NO"),
    }


def test_the_operations_of_a_step_leave_out_the_gradient_of_the_pixels(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from cases import Case

    layers = [5 * 9 * 7, 5 * 7 * 4, 15 * 2 * 7, 15 * 7 * 9]
    assert Case(9, (7,), latent=2, batch=5, k=3).operations == 2 * (3 * sum(layers) - layers[0])


@pytest.mark.slow
def test_estimators_have_the_exact_variances_and_every_block_of_the_encoder(benchmark, tmp_path):
    few = ("--toy-samples", "1000000", "--draws", "100", "--epochs", "5", "--batch", "8")
    result = benchmark("estimators", *few, "--samples-an-image", "3")
    exact = [row["exact"] for row in result["toy"]]
    assert exact[:5] == [4, 87, 42, 38, 76]
    assert [row["variance"] for row in result["toy"]] == pytest.approx(exact, rel=0.05)
    assert all(abs(row["bias"]) < 4 * row["error"] for row in result["toy"])
    blocks = [f"encoder.layers.{k}.{part}" for k in (0, 2) for part in ("weight", "bias")]
    assert column(result, "block") == blocks * 11
    against = {row["estimator"]: row["against"] for row in result["rows"]}
    assert against["score"] > 10 * against["score, mean"] > 10 * against["score-loo"] > 5
    assert against["elbo"] == against["iwae"] == 1 > against["dreg"]
    assert all(row["kept"] == "yes" for row in result["floors"] if "bias" in row["floor"])
    assert matplotlib.image.imread(tmp_path / "result.png").std() > 0.01


def test_the_exact_variances_of_the_toy_are_those_of_the_normals_moments(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import sympy as sp
    from estimators import THETA, TOY

    e, theta = sp.symbols("e theta", real=True)

    def mean(of):  # E[e^k] is 1 3 5 ... (k - 1) for an even k
        terms = sp.Poly(of, e).terms()
        return sp.expand(sum(c * sp.factorial2(k - 1) for (k,), c in terms if k % 2 == 0))

    def variance(of):
        return sp.expand(mean(of**2) - mean(of) ** 2)

    z = theta + e
    assert variance(z**2 * e) == theta**4 + 14 * theta**2 + 15
    cost = z.subs(theta, sp.Rational(THETA)) ** 2
    means = mean(cost), mean(cost * e**2) / mean(e**2)
    assert means == (5, 7)
    ones = [2 * z.subs(theta, sp.Rational(THETA)), *((cost - b) * e for b in (0, *means))]
    exact = [variance(of) for of in ones]
    # of the covariance of two variables in S samples, from their fourth moment
    fourth = mean((cost - mean(cost)) ** 2 * e**2)
    square, spread = mean(cost * e) ** 2, variance(cost) * variance(e)
    exact += [fourth - (square * (S - 2) - spread) / (S - 1) for S in (2, 8)]
    assert [known for _, _, known in TOY.values()] == pytest.approx([float(x) for x in exact])


@pytest.mark.slow
def test_gradcheck_speed_times_every_checker(benchmark):
    result = benchmark("gradcheck_speed", "--cases", "16-8-2, batch 5", "--rounds", "1")
    checkers = ["tinyvae", *["torch_slow", "torch_fast"] * TORCH, *["jax"] * JAX]
    assert column(result, "contestant") == checkers
    assert all(row["s_median"] > 0 for row in result["rows"])


@pytest.mark.slow
def test_import_time_lists_what_is_loaded_beyond_numpy(benchmark):
    result = benchmark("import_time", "--rounds", "2")
    assert column(result, "import") == ["numpy", "tinyvae", "training"]
    assert column(result, "beyond")[0] == 0
    training = result["modules"][-1]["beyond"].split()
    assert "tinyvae.training" in training
    assert not {"torch", "matplotlib", "sklearn", "scipy"} & set(training)


def test_core_size_counts_neither_comments_nor_docstrings(benchmark):
    result = benchmark("core_size")
    *files, total = result["rows"]
    assert {"autograd/tensor.py", "backend/base.py", "nn.py", "optim.py"} <= {
        row["file"] for row in files
    }
    assert all(0 < row["code"] < row["lines"] for row in files)
    assert total["code"] == sum(row["code"] for row in files)


def test_a_line_of_code_holds_more_than_prose(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from core_size import code_lines

    source = '''"""A module
that says what it is."""

import os  # 1

x = 1  # 2
"""What x is."""


def f():  # 3
    """One line."""
    # a comment
    return (  # 4
        "a string that is code"  # 5

    )  # 6
'''
    assert code_lines(source) == 6


@pytest.mark.slow
def test_autograd_scale_measures_every_size(benchmark):
    result = benchmark("autograd_scale", "--rounds", "1", "--longest", "1000", "--faces", "20")
    assert column(result, "what") == [
        *(f"chain {n}, us/op" for n in (10, 100, 1000)),
        "diamond, ms",
        "gradcheck, s",
        "20 faces, s",
    ]
    assert [row["floor"] for row in result["floors"]][-1] == "diamond, ms"


@pytest.mark.slow
def test_gradcheck_strength_counts_every_planted_error_for_every_checker(benchmark):
    result = benchmark("gradcheck_strength", "--ops", "sqrt", "--seeds", "3")
    (row,) = result["rows"]
    assert row["op"] == "sqrt"
    versions = {row["checker"]: row["version"] for row in result["contestants"]}
    assert versions.keys() == {"tinyvae", "torch, slow", "torch, fast", "jax"}
    installed = {name for name, version in versions.items() if version != "not installed"}
    assert {row["checker"] for row in result["checkers"]} == installed
    for found in result["checkers"]:
        assert found["planted"] == found["caught"] + found["missed"] + found["not run"] > 10
    assert row["pullbacks"] + row["values"] == row["check"] + row["error"] + row["oracle alone"]
    assert result["floors"][0]["floor"] == "planted errors that nothing catches"
    assert len(result["systems"]) > 50
    assert all(row["caught by"] != "nothing" for row in result["systems"])
    (right,) = result["right"]
    assert (right["checks"], right["alarms"]) == (9, 0)
    assert 1.9 < right["slope, low"] <= right["slope, high"] < 2.1


@pytest.mark.slow
def test_data_size_trains_on_every_size_from_every_source_and_draws_it(benchmark, tmp_path):
    pytest.importorskip("PIL")
    sizes = ["--base", "600", "--times", "1", "2", "4", "--files", "1200"]
    result = benchmark("data_size", *sizes, "--rounds", "1", "--lasting", "0.01")
    found = list(zip(column(result, "source"), column(result, "images"), strict=True))
    in_both = [(source, 600 * k) for k in (1, 2, 4) for source in ("disk", "memory")]
    assert sorted(found) == sorted([*in_both, ("folder", 600), ("folder", 1200)])
    assert all(row["epoch_s"] > 0 and row["peak_mb"] > 10 for row in result["rows"])
    assert len(result["loading"]) == (6 if TORCH else 4)
    assert len(result["floors"]) == 4
    assert (tmp_path / "result.png").stat().st_size > 1000


@pytest.mark.slow
def test_parallel_measures_two_processes_and_predicts_more(benchmark):
    pytest.importorskip("mpi4py")
    result = benchmark("parallel", "--rounds", "1", "--steps", "2", "--batches", "16", "128")
    assert [(row["batch"], row["processes"]) for row in result["rows"]] == [
        *((16, 1), (16, 2)),
        *((128, 1), (128, 2)),
    ]
    assert all(0 < row["sum_ms"] < row["step_ms_median"] for row in result["rows"])
    assert [row["efficiency"] for row in result["rows"]][::2] == [1, 1]
    for row in result["predictions"]:
        for n in (2, 8, 64):
            used = row["step_ms_1"] / (n * row[f"step_ms_{n}"])
            assert row[f"efficiency_{n}"] == pytest.approx(used)
            assert (row["last"] >= n) == (used >= 0.5)


def test_the_predicted_sum_is_that_of_a_ring(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from parallel import predicted

    network, memory = (1e9, 1e-3, False), (1e9, 0.0, True)
    assert predicted(1, 100, (2.0, 0.5), 1e6, network) == 52
    # 4 processes: 25 rows each; 6 messages of 250 kB, 0.25 ms and 1 ms of latency each
    assert predicted(4, 100, (2.0, 0.5), 1e6, network) == pytest.approx(2 + 12.5 + 6 * 1.25)
    assert predicted(4, 100, (2.0, 0.5), 1e6, memory) == pytest.approx(2 + 12.5 + 6 * 1.0)
