"""What `import tinyvae` loads and offers, and that what the README shows is so."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import tinyvae as tv

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
LOADED = """
import sys
before = set(sys.modules)
{}
print(*sorted(name for name in set(sys.modules) - before))
"""


def loaded(code: str) -> set[str]:
    """The modules that some lines load into a fresh Python."""
    command = [sys.executable, "-c", LOADED.format(code)]
    return {*subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()}


def foreign(modules: set[str]) -> set[str]:
    """The packages among them, without what Cython adds to NumPy."""
    packages = {name.split(".")[0] for name in modules if "cython" not in name}
    return packages - sys.stdlib_module_names - {"tinyvae"}


def of_tinyvae(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == "tinyvae"}


def test_import_tinyvae_loads_one_module_beyond_what_it_needs_of_the_standard_library():
    assert loaded("import tinyvae") - loaded("import importlib, typing") == {"tinyvae"}


def test_building_and_training_a_model_loads_numpy_alone():
    lines = """
import tinyvae as tv
images = tv.Noise(0).uniform((4, 2, 2))
tv.fit(tv.VAE((2, 2), hidden=(3,)), images, epochs=1, batch=2)
tv.gradcheck, tv.evaluate, tv.data.Dataset, tv.no_grad
"""
    assert foreign(loaded(lines)) == {"numpy"}


COMMAND = """
import contextlib, io
from tinyvae.cli import main
sys.argv = ["tinyvae", {!r}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""
HEAVY = {"matplotlib", "sklearn", "scipy", "safetensors", "torch", "jax", "hypothesis", "networkx"}


def test_help_loads_the_command_line_and_no_array_or_picture_library():
    modules = loaded(COMMAND.format("--help"))
    rooms = {name.split(".")[1] for name in of_tinyvae(modules) if "." in name}
    assert rooms == {"cli", "console", "errors", "parallel"}
    assert not foreign(modules) & {"numpy", *HEAVY}


def test_info_loads_the_backends_and_no_picture_library():
    modules = loaded(COMMAND.format("info"))
    rooms = {name.split(".")[1] for name in of_tinyvae(modules) if "." in name}
    assert rooms == {"backend", "cli", "console", "errors", "parallel"}
    assert not foreign(modules) & HEAVY


@pytest.mark.parametrize("name", dir(tv))
def test_every_public_name_is_there(name: str):
    assert getattr(tv, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tinyvae' has no attribute 'VEA'"):
        tv.VEA  # noqa: B018


def test_the_version_is_that_of_the_installed_package():
    assert importlib.metadata.version("tinyvae") == tv.__version__


def test_types_ship_with_the_package():
    assert importlib.resources.files("tinyvae").joinpath("py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["tinyvae"]


@pytest.mark.parametrize("path", sorted((ROOT / "tinyvae").rglob("*.py")), ids=lambda p: p.stem)
def test_every_module_says_what_it_is(path: Path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    assert importlib.import_module(name).__doc__


# The README


def test_the_lines_of_python_in_the_readme_run_and_print_nats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[0].replace("epochs=30", "epochs=2"), {})
    assert re.fullmatch(
        r"-ELBO \d\d\.\d = reconstruction \d\d\.\d \+ KL \d\.\d\n", capsys.readouterr().out
    )
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]


def test_the_gradient_that_is_wrong_in_the_readme_is_found(capsys: pytest.CaptureFixture[str]):
    exec(BLOCKS[1], {})
    promised = re.search(r"# (WRONG: .*)\n", BLOCKS[1])
    assert promised
    pattern = ".*".join(map(re.escape, promised[1].split("...")))
    assert re.match(pattern, capsys.readouterr().out)


def test_the_test_that_the_readme_shows_passes():
    shown: dict[str, Any] = {}
    exec(BLOCKS[2], shown)
    shown["test_the_gradient_of_my_layer_is_right"]()


def test_the_readme_names_every_command_and_every_option_of_train():
    from typer.main import get_command

    from tinyvae.cli import app

    readme = (ROOT / "README.md").read_text("utf-8")
    for name, command in get_command(app).commands.items():
        assert f"`tinyvae {name}`" in readme or f"`{name}`" in readme
        if name == "train":
            assert all(f"{option}" in readme for p in command.params for option in p.opts)


def test_every_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []
