"""How packing grows with the number of photos, and how soon a second study has its first batch.

    python -m tests.benchmarks.bench_scale

Photos are made on the spot: 16 different JPEGs of 400 × 533 px, each file with other bytes behind the image.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from study.data.dataset import prepare_data
from study.data.packed import pack_images
from study.data.sources import open_source
from study.definition import load_definition
from tests.benchmarks.machine import describe_machine, seconds

SIZE_PX = 224
DEFINITION = """
name = "scale"
[data]
folder = "photos"
image_size = {size_px}
[space]
backbone = {{ choices = ["resnet18"] }}
"""
# In a process of its own: its peak is packing's alone.
PACK = """
import json, re, sys, time
from pathlib import Path
from study.data.packed import pack_images
from study.data.sources import FolderSource
def peak_mib():
    # Not resource.getrusage: its maximum is inherited from the parent.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

source = FolderSource(Path(sys.argv[1]))
before_mib = peak_mib()
started_s = time.perf_counter()
packed = pack_images(source, int(sys.argv[3]), Path(sys.argv[2]))
print(json.dumps({
    "s": time.perf_counter() - started_s,
    "before_mib": before_mib,
    "peak_mib": peak_mib(),
    "bytes": packed.path.stat().st_size + packed.path.with_suffix(".json").stat().st_size,
}))
"""


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 2_000, 20_000], help="numbers of photos")
    parser.add_argument("--second", type=int, default=10_000, help="photos of the second study")
    arguments = parser.parse_args()
    print(f"{describe_machine()}\n\nphotos packed at {SIZE_PX} px; memory in MiB: with the list of photos, and at the peak\n")
    print("| photos | s | ms a photo | bytes a photo | before | peak |\n|---|---|---|---|---|---|")
    for num_photos in arguments.sizes:
        measure_packing(num_photos)
    measure_second_study(arguments.second)


def measure_packing(num_photos: int) -> None:
    """One line of the first table."""
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(Path(folder) / "photos", num_photos, (400, 533))
        command = [sys.executable, "-c", PACK, str(photos), str(Path(folder) / "cache"), str(SIZE_PX)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(
        f"| {num_photos:,} | {found['s']:.2f} | {found['s'] / num_photos * 1000:.3f} | {found['bytes'] / num_photos:,.0f} | "
        f"{found['before_mib']:.0f} | {found['peak_mib']:.0f} |",
        flush=True,
    )


def measure_second_study(num_photos: int) -> None:
    """From the definition's file to the first batch, where everything is packed already."""
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder) / "photos", num_photos, (64, 48))
        file, cache = Path(folder) / "scale.toml", Path(folder) / "cache"
        file.write_text(DEFINITION.format(size_px=64), encoding="utf-8")
        prepare_data(load_definition(file), cache)
        steps = [time.perf_counter()]
        definition = load_definition(file)
        steps.append(time.perf_counter())
        source = open_source(definition)
        steps.append(time.perf_counter())
        pack_images(source, 64, cache)
        steps.append(time.perf_counter())
        whole_s = min(first_batch_s(file, cache) for _ in range(5))
        full_check_s = seconds(lambda: pack_images(source, 64, cache, full_check=True))
    loading, listing, packing = np.diff(steps)
    print(f"\n| second study of {num_photos:,} photos | s |\n|---|---|")
    print(f"| load the definition | {loading:.3f} |\n| list the photos (`open_source`) | {listing:.3f} |")
    print(f"| `pack_images`: sizes and times checked, array mapped | {packing:.3f} |")
    print(f"| definition to first batch, all of it (best of 5) | {whole_s:.3f} |")
    print(f"| `pack_images(full_check=True)` | {full_check_s:.3f} |")


def first_batch_s(file: Path, cache: Path) -> float:
    """Seconds from the definition's file to 64 photos in memory."""

    def first_batch() -> None:
        data = prepare_data(load_definition(file), cache)
        data.images[data.splits.train[:64]].sum()

    return seconds(first_batch)


def write_photos(root: Path, num_photos: int, size: tuple[int, int]) -> Path:
    """Two classes of as many photos as asked."""
    stored = [jpeg(size, seed) for seed in range(16)]
    for label in ("cello", "violin"):
        (root / label).mkdir(parents=True)
    for number in range(num_photos):
        behind_the_image = str(number).encode()
        (root / ("cello", "violin")[number % 2] / f"{number:07d}.jpg").write_bytes(stored[number % 16] + behind_the_image)
    return root


def jpeg(size: tuple[int, int], seed: int) -> bytes:
    """Smooth with some texture, as a photo is."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size)
    noisy = np.asarray(coarse) + generator.normal(0, 6, (size[1], size[0], 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
