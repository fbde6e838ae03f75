"""A step of training by CuPy's kernels: of which launches it is, and that it can be captured."""

# ruff: noqa: SIM905 - a table of words is easier to read than a table of quotes
from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cublas_on_host
import cuda_on_host
import numpy as np
import pytest
import standin
import standin_graphs as graphs

import tinyvae as tv
from tinyvae.autograd import OPS, Tensor
from tinyvae.backend import Backend, base, cuda_products, cupy_kernels
from tinyvae.data.dataset import Split
from tinyvae.errors import ShapeError
from tinyvae.objectives import elbo_terms
from tinyvae.resident import Resident
from tinyvae.settings import Settings
from tinyvae.trainer import Trainer

pytestmark = pytest.mark.skipif(
    cuda_on_host.COMPILER is None, reason="needs Linux and a C++ compiler, such as g++"
)
RNG = np.random.default_rng(0)


class Products:
    """A library of products that adds the bias, and takes the ReLU, where it multiplies."""

    def __call__(self, a: Any, b: Any, out: Any = None) -> Any:
        return standin.xp.matmul(a, b, out=out)

    def affine(self, x: Any, weight: Any, bias: Any, relu: bool) -> Any:
        return standin._call("layer", layer, (x, weight, bias, relu), {})


class OfCublas(cuda_products.Products):
    """The real code, which calls a cuBLAS on the host when a graph is launched."""

    def __init__(self, name: str) -> None:
        super().__init__(cublas_on_host.cupy(), name)

    def _multiply(self, a: Any, b: Any, c: Any, epilogue: Any = None) -> bool:
        def act() -> bool:
            return super(OfCublas, self)._multiply(a, b, c, epilogue)

        stream = graphs.captured()
        if stream is None:
            return act()
        stream.add(act, [a._memory, b._memory, c._memory])
        return True


def layer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, relu: bool) -> np.ndarray:
    y = x @ weight + bias
    return np.maximum(y, 0) if relu else y


@contextmanager
def in_use(with_kernels: Backend) -> Iterator[Backend]:
    """Within the block the stand-in is this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(base._loaded, "standin", with_kernels)
        patch.setitem(base._by_type, standin.DeviceArray, with_kernels)
        with tv.use(with_kernels):
            yield with_kernels


@pytest.fixture(params=[None, Products()], ids=["products alone", "with epilogues"])
def device(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The stand-in with the kernels, and two kinds of products."""
    with in_use(cuda_on_host.backend(request.param)) as backend:
        yield backend


@contextmanager
def launches() -> Iterator[list[str]]:
    """What is launched within the block, by name; a view and fresh memory are no launches."""
    found: list[str] = []
    call, run = standin._call, cuda_on_host.RawKernel.__call__

    def counted(name: str, function: Any, args: Any, kwargs: Any) -> Any:
        made = call(name, function, args, kwargs)
        arrays = [a for a in args if isinstance(a, standin.DeviceArray)]
        is_view = isinstance(made, standin.DeviceArray) and any(
            made._memory is a._memory for a in arrays
        )
        if kwargs.get("out") is not None or not is_view:
            found.append(name)
        return made

    def started(kernel: Any, *how: Any) -> None:
        found.append(kernel.name)
        run(kernel, *how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standin, "_call", counted)
        patch.setattr(cuda_on_host.RawKernel, "__call__", started)
        yield found


def steps_of(shape: tuple[int, ...], hidden: int, latent: int, batch: int) -> Resident:
    """Of a VAE with one hidden layer either way."""
    model = tv.VAE(shape, latent=latent, hidden=(hidden,))
    split = Split(np.random.default_rng(1).integers(256, size=(3 * batch, *shape), dtype=np.uint8))
    return Resident(
        split,
        tv.Adam(model.parameters(), 1e-2),
        lambda x, noise, beta: elbo_terms(model, Tensor.wrap(x), noise, beta),
        batch,
        latent,
    )


# How many launches


FORWARD = """
    take_batch_uint8 layer layer copy copy gaussian_sample layer layer bernoulli_cross_entropy
    kl_standard_normal __mul__ __add__ sum __mul__
""".split()
BACKWARD = """
    ones_like __mul__ __mul__ __mul__ kl_standard_normal_to_log_variance
    bernoulli_cross_entropy_to_logits matmul matmul column_sums
    relu_to_x matmul matmul column_sums
    __add__ gaussian_sample_to_log_variance __add__ getitem_to_x getitem_to_x __add__
    matmul matmul column_sums relu_to_x matmul column_sums
""".split()
"""The halves of the head are copied, and their gradients put side by side; and of the sum, the
mean and the weight of the KL, each is a launch."""


def test_a_step_of_a_vae_is_of_these_launches(device: Backend) -> None:
    steps = steps_of((28, 28), 400, 20, batch=4)
    with launches() as found:
        steps._step(4)
    by_hand = Counter(found)
    for name in ("add_bias", "add_bias_relu"):  # without epilogues a layer is two launches
        by_hand["layer"] += (count := by_hand.pop(name, 0))
        by_hand["matmul"] -= count
    assert by_hand == Counter([*FORWARD, *BACKWARD, "adam", "tally"])
    assert len(found) == (41 if by_hand == Counter(found) else 45)


def test_a_batch_that_is_tall_takes_two_launches_for_each_bias(
    device: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = steps_of((3, 4), 5, 2, batch=9)
    counts = []
    for tall in (9, 8):
        monkeypatch.setattr(cupy_kernels, "TALL", tall)
        with launches() as found:
            steps._step(9)
        counts.append(found.count("column_sums"))
    assert counts == [4, 8]


def test_rows_that_lie_apart_and_an_upstream_that_was_broadcast_are_not_copied(
    device: Backend,
) -> None:
    xp, kernels = device.xp, device.kernels
    head = device.from_host(RNG.random((5, 12)))
    g = xp.broadcast_to(device.from_host(np.array(0.5)), (5,))
    for name in ("kl_standard_normal", "bernoulli_cross_entropy"):
        with launches() as found:
            _, pullbacks = kernels[name](head[:, :6], head[:, 6:])
            pullbacks[name.startswith("kl")](g)
        assert [part.removeprefix(name) for part in found] in (
            ["", "_to_log_variance"], ["", "_to_logits"]
        )  # fmt: skip


# That it can be captured


def trained(steps: Resident) -> list[np.ndarray]:
    """The parameters after four steps, which are recorded if they can be."""
    split_rows = np.arange(12, dtype=np.int64)
    rng = np.random.default_rng(2)
    feeds = [
        (rng.permutation(split_rows)[:6], None, rng.standard_normal((6, 2)).astype("float32"))
        for _ in range(6)
    ]
    for _ in steps.run(iter(feeds), 1.0):
        pass
    return [p.numpy() for p in steps.optimiser.flat.parameters]


def test_a_step_with_the_kernels_is_captured_and_trains_as_one_without(device: Backend) -> None:
    steps = steps_of((3, 4), 5, 2, batch=6)
    with_kernels = trained(steps)
    assert steps.is_recorded
    assert steps._again[6] is not None
    for one, other in zip(with_kernels, without_kernels(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def without_kernels() -> list[np.ndarray]:
    with in_use(standin.load()):
        return trained(steps_of((3, 4), 5, 2, batch=6))


@pytest.mark.parametrize("name", ["cublas", pytest.param("nvmath", marks=pytest.mark.slow)])
@pytest.mark.parametrize("binarise", ["dynamic", pytest.param("none", marks=pytest.mark.slow)])
def test_a_run_with_all_that_is_for_a_gpu_ends_as_one_on_numpy(
    name: str, binarise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels, cuBLAS, capture and branches, together; each on the host."""
    for module, made in cublas_on_host.nvmath().items():
        monkeypatch.setitem(sys.modules, module, made)
    images = RNG.integers(256, size=(22, 3, 4), dtype=np.uint8)
    settings = {"epochs": 5, "batch": 8, "clip": 1.0, "warm_up": 2, "binarise": binarise}

    def run() -> Trainer:
        model = tv.VAE((3, 4), latent=3, hidden=(7, 5))
        trainer = Trainer(model, Split(images), Split(images[:4]), Settings(**settings))
        trainer.run()
        return trainer

    with in_use(cuda_on_host.backend(OfCublas(name))):
        ours = run()
    with tv.use("numpy"):
        theirs = run()
    assert ours._resident is not None
    assert ours._resident.is_recorded
    for one, other in zip(*(t.model.state_dict().values() for t in (ours, theirs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    for here, there in zip(ours.state.history, theirs.state.history, strict=True):
        assert here["train_loss"] == pytest.approx(there["train_loss"], rel=1e-5)
        assert here["valid_loss"] == pytest.approx(there["valid_loss"], rel=1e-5)


LAYERS: dict[str, Callable[..., Tensor]] = {
    "all are parameters": lambda x, w, b: OPS["affine_relu"](x, w, b),
    "the weight is computed": lambda x, w, b: OPS["affine_relu"](x, w * 2.0, b),
    "the bias is computed": lambda x, w, b: OPS["affine_relu"](x, w, b * 2.0),
    "the rows are computed": lambda x, w, b: OPS["affine_relu"](x * 2.0, w, b),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_pullbacks_share_is_there_before_it_is_used(device: Backend, name: str) -> None:
    host = [RNG.standard_normal(shape) for shape in ((3, 4), (4, 5), (5,))]
    parameters = [Tensor(x, requires_grad=True) for x in host]
    replay = tv.Replay(lambda: (LAYERS[name](*parameters) ** 2).sum(), parameters)
    for _ in range(30):
        for p in parameters:
            p.array[...] = device.from_host(RNG.standard_normal(p.shape))
            p.zero_grad()
        replay()
        got = [device.to_host(p.grad) for p in parameters]
        for p in parameters:
            p.zero_grad()
        replay.loss().backward()
        for one, p in zip(got, parameters, strict=True):
            np.testing.assert_allclose(one, device.to_host(p.grad), rtol=1e-12)
    assert replay._replayed > 20


# What a kernel is not for


def test_shapes_that_do_not_fit_are_refused_in_the_references_words(device: Backend) -> None:
    for name in ("affine", "affine_relu"):
        for shapes in (((2,), (2, 3), (3,)), ((4, 2), (2, 3), (1,)), ((4, 2), (3, 3), (3,))):
            with pytest.raises(ShapeError, match=name):
                OPS[name](*(Tensor(np.ones(shape)) for shape in shapes))
    with pytest.raises(ShapeError, match="matmul"):
        OPS["matmul"](Tensor(np.ones((2, 3))), Tensor(np.ones((2, 3))))


@pytest.mark.parametrize(
    "index",
    [
        1, -1, ..., None, np.s_[:], np.s_[::2], np.s_[::-1], np.s_[1:, 1:], np.s_[:, 1], [2, 0, 2],
        np.s_[3:1], np.s_[:, -2:], np.s_[-9:9, 1:], np.s_[:, :, None],
    ],
    ids=str,
)  # fmt: skip
def test_every_index_gives_what_it_gives_in_numpy(device: Backend, index: Any) -> None:
    host = RNG.standard_normal((4, 3))
    x = Tensor(host, requires_grad=True)
    y = x[index]
    (y * y).sum().backward()
    wanted = np.zeros_like(host)
    np.add.at(wanted, index, 2 * host[index])
    np.testing.assert_array_equal(y.numpy(), host[index])
    np.testing.assert_array_equal(device.to_host(x.grad), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shapes", [((3, 4), (4, 2)), ((2, 3, 4), (4, 2)), ((3,), (3, 4))])
def test_products_of_matrices_and_of_others_are_numpys(
    device: Backend, shapes: Any, dtype: str
) -> None:
    host = [RNG.integers(-4, 5, shape).astype(dtype) for shape in shapes]
    a, b = (Tensor(x, requires_grad=True) for x in host)
    np.testing.assert_array_equal((a @ b).numpy(), host[0] @ host[1])
    with tv.use("numpy"):
        c, d = (Tensor(x, requires_grad=True) for x in host)
    for product in (a @ b, c @ d):
        (product * product).sum().backward()
    for one, other in ((a, c), (b, d)):
        np.testing.assert_array_equal(device.to_host(one.grad), other.grad)


# At the edges


def test_a_nan_and_an_infinity_go_through_a_layer_as_in_numpy(device: Backend) -> None:
    for value in (np.nan, np.inf, -np.inf, -0.0):
        bias = np.array([value, 1.0])
        x, weight, g = np.zeros((1, 1)), np.ones((1, 2)), np.array([[np.inf, np.nan]])
        for name in ("affine", "affine_relu"):
            y, pullbacks = device.kernels[name](*map(device.from_host, (x, weight, bias)))
            wanted, theirs = OPS[name].bare(x, weight, bias)
            np.testing.assert_array_equal(device.to_host(y), wanted)
            with np.errstate(invalid="ignore"):
                sums = pullbacks[2](device.from_host(g)), theirs[2](g)
            np.testing.assert_array_equal(device.to_host(sums[0]), sums[1])


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 9, 63, 65])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_of_a_bias_is_the_sum_of_the_rows_wherever_it_is_written(
    device: Backend, rows: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cupy_kernels, "TALL", 8)  # three launches for 65 rows
    g = RNG.integers(-9, 9, (rows, 11)).astype(dtype)
    x, weight, bias = np.ones((rows, 2), dtype), np.ones((2, 11), dtype), np.zeros(11, dtype)
    _, (_, _, to_bias) = device.kernels["affine"](*map(device.from_host, (x, weight, bias)))
    straight, apart = device.from_host(bias), device.from_host(np.zeros((11, 2), dtype))
    for out in (None, straight, apart[:, 0]):
        made = to_bias(device.from_host(g), out=out)
        assert out is None or made is out
        np.testing.assert_array_equal(device.to_host(made), g.sum(axis=0))
    assert (device.to_host(apart)[:, 1] == 0).all()
