"""Packing photos into one array, against a plain Pillow loop with as many processes.

    python -m tests.benchmarks.bench_packing ../shared/data/clothing10

Prints Markdown: the race, what reduced decoding costs in pixels, and where the time goes.
"""

import argparse
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from study.data import images
from study.data.images import Pixels, decode, fit_to_square, square_of
from study.data.packed import pack_images
from study.data.sources import FolderSource
from tests.benchmarks import peer_pillow_pool as peer
from tests.benchmarks.machine import describe_machine, median_ratio, race, seconds

MARGINS = (1.0, 1.15, 1.5, 2.0, 3.0)


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="class folders, with or without split folders above them")
    parser.add_argument("--size", type=int, default=224, help="side of the squares in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    source = FolderSource(arguments.photos)
    photos = [arguments.photos / photo for photo in source.records.photos]
    print(f"{describe_machine()}\n\n{len(photos):,} photos, {arguments.size} px, {arguments.rounds} rounds\n")
    race_packing(source, photos, arguments.size, arguments.rounds)
    race_large_photos(photos[::30][:40], arguments.size, 3)
    compare_pixels(photos[::3], [64, 112, 160, 224])
    share_time(photos[::7], arguments.size)


def race_packing(source: FolderSource, photos: Sequence[Path], size_px: int, num_rounds: int) -> None:
    """Ours reads, hashes, decodes, writes to disk, checksums and keeps a journal; the peers decode into memory or a mapping."""
    num_processes = len(os.sched_getaffinity(0))

    taken = race(
        {
            "ours": lambda folder: pack_images(source, size_px, folder),
            "peer, squares returned": lambda _: peer.pack_by_returning(photos, size_px, num_processes),
            "peer, squares written in place": lambda folder: peer.pack_in_place(
                photos, size_px, num_processes, folder / "images.npy"
            ),
        },
        num_rounds,
    )
    print("| packing | best s | median s | ours is faster by: median of rounds | best to best | by processor time |")
    print("|---|---|---|---|---|---|")
    ours_s, ours_cpu_s = [one.wall_s for one in taken["ours"]], [one.cpu_s for one in taken["ours"]]
    for name, rounds in taken.items():
        wall_s, cpu_s = [one.wall_s for one in rounds], [one.cpu_s for one in rounds]
        ratios = (median_ratio(wall_s, ours_s), min(wall_s) / min(ours_s), median_ratio(cpu_s, ours_cpu_s))
        cells = " | ".join(f"{ratio:.2f}×" for ratio in ratios)
        print(f"| {name} | {min(wall_s):.3f} | {np.median(wall_s):.3f} | {cells} |")


def race_large_photos(photos: Sequence[Path], size_px: int, num_rounds: int) -> None:
    """The same race over a few photos enlarged to 12 megapixels, as a phone takes them."""
    with tempfile.TemporaryDirectory() as folder:
        for number, photo in enumerate(photos):
            file = Path(folder) / ("front", "back")[number % 2] / f"{number}.jpg"
            file.parent.mkdir(exist_ok=True)
            Image.open(photo).convert("RGB").resize((3000, 4000)).save(file, quality=90)
        source = FolderSource(Path(folder))
        print(f"\n{len(photos)} photos of 12 megapixels\n")
        race_packing(source, [Path(folder) / photo for photo in source.records.photos], size_px, num_rounds)


def compare_pixels(photos: Sequence[Path], sizes_px: Sequence[int]) -> None:
    """What reduced decoding changes, against the peer's squares."""
    stored = [photo.read_bytes() for photo in photos]
    print(f"\nMean absolute difference to the peer's square, of 255, over {len(photos)} photos: mean, 95th percentile, worst\n")
    print("| margin | " + " | ".join(f"{size_px} px" for size_px in sizes_px) + " |\n|---" + "|---" * len(sizes_px) + "|")
    full = {size_px: [peer.square_of(photo, size_px) for photo in photos] for size_px in sizes_px}
    for margin in MARGINS:
        cells = []
        for size_px in sizes_px:
            with mock.patch.object(images, "DRAFT_MARGIN", margin):
                found = [difference(square_of(photo, size_px), one) for photo, one in zip(stored, full[size_px], strict=True)]
            cells.append(f"{np.mean(found):.2f}, {np.percentile(found, 95):.2f}, {max(found):.2f}")
        print(f"| {margin} | " + " | ".join(cells) + " |")


def difference(one: Pixels, other: Pixels) -> float:
    """Mean over a square of the absolute difference, of 255."""
    return float(np.abs(one.astype(int) - other).mean())


def share_time(photos: Sequence[Path], size_px: int) -> None:
    """Each step alone, in one thread, best of 9, in µs a photo."""
    stored = [photo.read_bytes() for photo in photos]
    whole = [decode(photo) for photo in stored]
    halves = [half(photo) for photo in stored]
    small = [fit_to_square(image, size_px) for image in whole]
    steps: dict[str, Callable[[], object]] = {
        "read the file": lambda: [photo.read_bytes() for photo in photos],
        "sha256 of the file": lambda: [hashlib.sha256(photo).digest() for photo in stored],
        "decode the JPEG whole": lambda: [Image.open(io.BytesIO(photo)).load() for photo in stored],
        "decode it at half its size": lambda: [half(photo) for photo in stored],
        "convert to RGB (the peer; a copy)": lambda: [image.convert("RGB") for image in whole],
        "resize from the whole": lambda: [resized(image, size_px) for image in whole],
        "resize from half": lambda: [resized(image, size_px) for image in halves],
        "to numpy": lambda: [np.array(Image.fromarray(pixels)) for pixels in small],
        "all of ours": lambda: [square_of(photo, size_px) for photo in stored],
        "all of the peer": lambda: [peer.square_of(photo, size_px) for photo in photos],
    }
    print("\n| step, one thread | µs a photo |\n|---|---|")
    for name, step in steps.items():
        print(f"| {name} | {min(seconds(step) for _ in range(9)) / len(photos) * 1e6:.0f} |")


def half(stored: bytes) -> Image.Image:
    """Decoded at half its size, whether or not that is enough."""
    image = Image.open(io.BytesIO(stored))
    image.draft(image.mode, (image.width // 2, image.height // 2))
    image.load()
    return image


def resized(image: Image.Image, longest_px: int) -> Image.Image:
    """Longest side `longest_px`."""
    scale = longest_px / max(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)


if __name__ == "__main__":
    main()
