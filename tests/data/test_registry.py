from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from tinyvae.data import cards, idx, load
from tinyvae.errors import DataError, OptionError

NAMES = ["digits", "mnist", "fashion_mnist", "binarized_mnist", "faces", "sprites"]


@pytest.fixture
def nothing_there(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYVAE_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache")
    return tmp_path


def test_there_is_a_card_for_every_set(nothing_there):
    assert [card.name for card in cards()] == NAMES
    assert all(card.size and card.licence and card.where for card in cards())


def test_the_card_of_a_set_that_is_not_there_says_how_much_is_downloaded(nothing_there):
    card = cards()[1]
    assert not card.there
    assert card.where == "to be downloaded, 12 MB"


def test_the_card_of_a_set_that_is_there_says_where(nothing_there):
    folder = nothing_there / "mnist"
    folder.mkdir()
    for file in idx.SHAPES:
        (folder / f"{file}.gz").touch()
    card = cards()[1]
    assert card.there
    assert card.where == str(folder)


def test_every_loader_of_a_card_is_a_function(nothing_there):
    for card in cards():
        module, _, function = card.loader.rpartition(".")
        assert callable(getattr(import_module(module), function))


def test_the_cards_of_what_needs_no_download_agree_with_the_sets(nothing_there):
    card = {card.name: card for card in cards()}
    small, faces, sprites = load("digits"), load("faces", count=20), load("sprites", count=20)
    for dataset in (small, faces, sprites):
        assert card[dataset.name].licence == dataset.licence
    assert card["faces"].size.endswith("colour 32x32")
    assert faces.image_shape == (32, 32, 3)
    assert card["sprites"].size.endswith("grey 64x64")
    assert sprites.image_shape == (64, 64)


def test_an_unknown_name_is_refused_with_the_list_and_the_nearest_name():
    with pytest.raises(DataError, match="did you mean 'fashion_mnist'") as refused:
        load("fashion-mnist")
    assert ", ".join(NAMES) in str(refused.value)


def test_a_name_like_no_other_is_refused_without_a_guess():
    with pytest.raises(DataError) as refused:
        load("zzz")
    assert "did you mean" not in str(refused.value)
    assert "mnist" in str(refused.value)


@pytest.mark.parametrize("name", ["", ".", "x" * 5000, "x" * 5000 + ".npz", "a\0b", "a\0b.npy"])
def test_a_name_of_nothing_is_refused(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        load(name)


def test_an_option_that_a_set_does_not_take_is_refused_with_those_that_it_takes():
    with pytest.raises(OptionError, match="'digits' takes no option 'size'; its options: none"):
        load("digits", size=8)
    with pytest.raises(OptionError, match="its options: count, size, seed"):
        load("faces", sizes=8)


def test_the_options_reach_the_loader():
    assert len(load("faces", count=30, size=16).train) == 24


def test_a_folder_with_the_name_of_a_set_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert load("digits").name == "digits"


def test_a_file_or_folder_here_is_loaded_by_its_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "own.npy", np.zeros((10, 4, 4), np.uint8))
    assert load("own.npy").name == "own"
    (tmp_path / "album").mkdir()
    with pytest.raises(DataError, match="album has no images"):
        load("album")


def test_a_path_that_ends_in_a_separator_is_a_path():
    with pytest.raises(DataError, match="no_such_album is not there"):
        load("no_such_album/")


def test_importing_the_room_imports_none_of_the_packages_that_load_when_used():
    heavy = ["sklearn", "pooch", "tqdm", "PIL", "requests"]
    code = f"import sys, tinyvae.data; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]"
