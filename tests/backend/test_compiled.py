"""Compiled kernels are taken where they were asked for, and a missing compiler is said clearly."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

import tinyvae as tv
from tinyvae.autograd import OPS
from tinyvae.backend import get
from tinyvae.errors import BackendError


def test_a_name_that_is_not_known_is_refused() -> None:
    with pytest.raises(BackendError, match=r"unknown kernels 'fortran'; choose one of \['numpy',"):
        tv.use("numpy", kernels="fortran")


def test_without_numba_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(BackendError, match=r"need Numba, but: .*pip install .*'tinyvae\[numba\]'"):
        tv.use("numpy", kernels="numba")


@pytest.mark.parametrize("version", ["0.55.1", "0.60.0"])
def test_an_old_numba_is_refused_with_both_versions(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    old = ModuleType("numba")
    old.__version__ = version
    monkeypatch.setitem(sys.modules, "numba", old)
    with pytest.raises(BackendError, match=rf"Numba 0\.61 or newer, not {version}; pip install"):
        tv.use("numpy", kernels="numba")


def test_where_nothing_can_be_kept_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_cache(**_: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    numba = ModuleType("numba")
    numba.__version__, numba.njit = "0.61.0", no_cache
    monkeypatch.setitem(sys.modules, "numba", numba)
    monkeypatch.delitem(sys.modules, "tinyvae.backend.numba_kernels", raising=False)
    monkeypatch.delattr("tinyvae.backend.numba_kernels", raising=False)
    with pytest.raises(BackendError, match=r"cannot cache .*; name a folder .* NUMBA_CACHE_DIR"):
        tv.use("numpy", kernels="numba")


class TestWithNumba:
    @pytest.fixture(autouse=True)
    def _numba(self) -> None:
        pytest.importorskip("numba", reason="needs Numba: pip install 'tinyvae[numba]'")

    def test_they_are_in_use_within_the_block_alone(self) -> None:
        backend, reference = get("numpy"), OPS["kl_standard_normal"].bare
        plain = backend.kernel("kl_standard_normal", reference)
        with tv.use("numpy", kernels="numba"):
            assert backend.kernel("kl_standard_normal", reference) is not plain
            with tv.use("numpy"):
                assert backend.kernel("kl_standard_normal", reference) is not plain
            with tv.use("numpy", kernels="numpy"):
                assert backend.kernel("kl_standard_normal", reference) is plain
        assert backend.kernel("kl_standard_normal", reference) is plain

    def test_an_op_without_one_keeps_its_reference(self) -> None:
        with tv.use("numpy", kernels="numba"):
            assert get("numpy").kernel("exp", np.exp) is np.exp

    def test_another_backend_keeps_its_own(self) -> None:
        with tv.use("standin", kernels="numba") as backend:
            assert backend.kernel("adam", np.exp) is np.exp

    def test_a_model_learns_the_same_but_for_the_last_digits(self) -> None:
        images = tv.Noise(0).uniform((64, 5, 5))
        histories = []
        for kernels in ("numpy", "numba"):
            with tv.use("numpy", kernels=kernels):
                model = tv.VAE((5, 5), latent=3, hidden=(16,))
                histories.append(tv.fit(model, images, epochs=5, batch=20))
        for ours, theirs in zip(*histories, strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
        assert histories[0] != histories[1]
