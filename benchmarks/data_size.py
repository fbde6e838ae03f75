"""Time per epoch and peak memory as the images on disk grow, and how fast batches are made.

A small VAE trains for one epoch on images of noise: a file of the first of --times the base
size, then of the next, each in a fresh process. From "disk" they are streamed from an .npy
file, from "memory" they are loaded first (left out above --in-memory MB), from a "folder" each
is a PNG file (left out above --files). The fresh file is in the system's cache.

images, file_mb  how many, and the size of the decoded images in 10^6 bytes
epoch_s          one epoch, with what it logs; the quickest of --rounds processes
us_per_image     the same for each image
peak_mb          the most memory that the process held, in 10^6 bytes

loading          batches made in a second, in images, of bytes in memory and on disk: grey and
                 drawn black or white (dynamic); PyTorch indexes a tensor of bytes, converts,
                 divides, and draws with torch.bernoulli
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from harness import (
    FOLDER,
    HAS_TORCH,
    Contestant,
    Row,
    floor,
    parser,
    peak_mb,
    report,
    run,
    seconds,
    seconds_each,
)

SIDE, HIDDEN, LATENT, BATCH = 28, 64, 4, 256
LINEAR, CONSTANT = 1.3, 15  # time per image over that of 1x; MB beyond the peak of 1x


# The contestants


def play_writer(path: str, images: int) -> Callable[..., None]:
    """Write noise, as one file or, where the path has no suffix, as a folder of PNG files."""
    import numpy as np

    rng, place = np.random.default_rng(0), Path(path)

    def block(count: int) -> np.ndarray:
        return rng.integers(256, size=(count, SIDE, SIDE), dtype=np.uint8)

    def write_file() -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (images, SIDE, SIDE)}
        with place.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, images, 10_000):
                file.write(block(min(10_000, images - start)).data)

    def write_folder() -> None:
        from PIL import Image

        place.mkdir()
        for k, image in enumerate(block(images)):
            Image.fromarray(image).save(place / f"{k:06}.png")

    return write_file if place.suffix else write_folder


def play_training(path: str, source: str) -> Callable[..., Row]:
    """An epoch on all images of a path, which are not cut into parts."""
    import numpy as np

    import tinyvae as tv
    from tinyvae.data import Split, folder

    if source == "folder":
        folder.LARGEST = 0  # these are small, and are to stay on disk
        images = folder.load(Path(path), None)
    else:
        mode = "r" if source == "disk" else None
        images = Split(np.load(path, mmap_mode=mode))
    model = tv.VAE((SIDE, SIDE), LATENT, (HIDDEN,))

    def train(epochs: int) -> Row:
        epoch_s = seconds(lambda: tv.fit(model, images, epochs=epochs, batch=BATCH)) / epochs
        return {"images": len(images), "epoch_s": epoch_s, "peak_mb": peak_mb()}

    return train


def turns(images: int, size: int) -> Iterator[slice]:
    """One batch after the other, for ever."""
    return cycle([slice(k, k + size) for k in range(0, images - size + 1, size)])


def play_tinyvae_loading(path: str, source: str, images: int) -> Callable[..., float]:
    """`Split.batch` of random rows, in memory or on disk."""
    import numpy as np

    from tinyvae.data import Split
    from tinyvae.noise import Noise

    mode = "r" if source == "disk" else None
    split, noise = Split(np.load(path, mmap_mode=mode)[:images]), Noise(0, backend="numpy")
    order = noise.permutation(images)

    def load(size: int, dynamic: bool, lasting: float) -> float:
        drawn, rows = (noise if dynamic else None), turns(images, size)
        return size / seconds_each(lambda: split.batch(order[next(rows)], drawn), lasting)

    return load


def play_torch_loading(path: str, images: int) -> Callable[..., float]:
    """The same by PyTorch, of a tensor in memory."""
    import numpy as np
    import torch

    held = torch.from_numpy(np.load(path, mmap_mode="r")[:images].reshape(images, -1).copy())
    order = torch.randperm(images)

    def load(size: int, dynamic: bool, lasting: float) -> float:
        rows = turns(images, size)

        def grey() -> torch.Tensor:
            return held[order[next(rows)]].float() / 255

        return size / seconds_each((lambda: torch.bernoulli(grey())) if dynamic else grey, lasting)

    return load


CONTESTANTS = {
    "writer": play_writer,
    "training": play_training,
    "tinyvae": play_tinyvae_loading,
} | ({"torch": play_torch_loading} if HAS_TORCH else {})


# The benchmark


def written(path: Path, images: int) -> str:
    """The path, after a process of its own has written the images there."""
    with Contestant("writer", path=str(path), images=images) as writer:
        writer()
    return str(path)


def trained(path: str, source: str, times: int, rounds: int) -> Row:
    """A row of the table: the quickest of so many fresh processes."""
    found = []
    for _ in range(rounds):
        with Contestant("training", path=path, source=source) as contestant:
            found.append(contestant(epochs=1))
    row = min(found, key=lambda row: row["epoch_s"])
    each = row["epoch_s"] / row["images"] * 1e6
    print(f"{source}, {times}x: {row['epoch_s']:.1f} s", file=sys.stderr)
    size = {"file_mb": row["images"] * SIDE * SIDE / 1e6}
    return {"source": source, "times": times} | size | row | {"us_per_image": each}


def rows_of(folder: Path, chosen: argparse.Namespace) -> list[Row]:
    """Each size from each source that holds it."""
    rows = []
    for times in chosen.times:
        images = chosen.base * times
        path = written(folder / "images.npy", images)
        held = images * SIDE * SIDE / 1e6 <= chosen.in_memory
        rows += [
            trained(path, source, times, chosen.rounds) for source in ("disk", *["memory"] * held)
        ]
        if images <= chosen.files:
            path = written(folder / f"pictures{times}", images)
            rows.append(trained(path, "folder", times, chosen.rounds))
    return rows


def loading(folder: Path, lasting: float) -> list[Row]:
    """Images a second, of 60,000."""
    path = written(folder / "loading.npy", 60_000)
    rows = []
    contestants = [("tinyvae", {"source": "memory"}), ("tinyvae", {"source": "disk"})]
    for name, where in contestants + [("torch", {})] * HAS_TORCH:
        with Contestant(name, path=path, images=60_000, **where) as contestant:
            for size in (128, 1024):
                kinds = {"grey": False, "dynamic": True}
                found = {
                    f"{kind}_per_s": contestant(size=size, dynamic=dynamic, lasting=lasting)
                    for kind, dynamic in kinds.items()
                }
                about = {"contestant": name, "source": where.get("source", "memory")}
                rows.append(about | {"batch": size} | found)
    return rows


def floors(rows: list[Row]) -> list[Row]:
    """Time is linear, memory is constant; of the largest size beside the smallest."""
    promised = []
    for source in ("disk", "folder"):
        found = [row for row in rows if row["source"] == source]
        if len(found) < 2:
            continue
        first, last = found[0], found[-1]
        times = f"{source}, {last['times']}x / {first['times']}x"
        grown = last["peak_mb"] - first["peak_mb"]
        slower = last["us_per_image"] / first["us_per_image"]
        promised += [floor(f"{times}: time per image", [slower], LINEAR)]
        promised += [floor(f"{times}: MB beyond", [grown], CONSTANT, -CONSTANT)]
    return promised


def draw(rows: list[Row], path: Path) -> None:
    """Time and memory over the size of the data, beside the JSON."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2),
        ("epoch_s", "peak_mb"),
        ("seconds an epoch", "peak memory, MB"),
        strict=True,
    ):
        for source in dict.fromkeys(row["source"] for row in rows):
            chosen = [row for row in rows if row["source"] == source]
            sizes, values = ([row[name] for row in chosen] for name in ("file_mb", key))
            axes.plot(sizes, values, marker="o", label=source)
        axes.set(xlabel="decoded images, MB", ylabel=label, xscale="log")
        axes.legend()
    figure.axes[0].set(yscale="log")
    figure.axes[1].set(ylim=(0, None))
    figure.savefig(path)


def main() -> None:
    """Size by size, then the loading."""
    options = parser(__doc__, rounds=2)
    options.add_argument("--base", type=int, default=40_000, help="images of 1x")
    options.add_argument("--times", type=int, nargs="+", default=[1, 4, 16, 64])
    options.add_argument("--in-memory", type=int, default=800, help="MB that are loaded at most")
    options.add_argument("--files", type=int, default=60_000, help="PNG files written at most")
    options.add_argument("--lasting", type=float, default=1.0, help="seconds a measure of loading")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = rows_of(Path(name), chosen)
        loaded = loading(Path(name), chosen.lasting)
    report("data_size", chosen, rows=rows, loading=loaded, floors=floors(rows))
    out = chosen.out or FOLDER / "results" / "data_size.json"
    draw(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    run(main, CONTESTANTS)
