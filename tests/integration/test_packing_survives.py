"""Packing in processes of its own: killed without warning, and two at once."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NUM_PHOTOS = 640
SIZE_PX = 224

# Prints each progress call, and at the end what was read and made.
PACK = """
import json, sys
from pathlib import Path
from study.data.packed import pack_images
from study.data.sources import FolderSource

class CountingSource(FolderSource):
    num_read = 0
    def read(self, photo):
        self.num_read += 1
        return super().read(photo)

source = CountingSource(Path(sys.argv[1]))
report = lambda done, total: print(done, flush=True)
packed = pack_images(source, int(sys.argv[3]), Path(sys.argv[2]), report)
reasons = [[one.photo, one.reason] for one in packed.quarantine]
print(json.dumps({"num_read": source.num_read, "digest": packed.digest, "path": str(packed.path), "quarantine": reasons}))
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of JPEGs of 480 × 360 px, no two with the same bytes, one of them no image."""
    root = tmp_path_factory.mktemp("photos")
    stored = [jpeg(seed) for seed in range(16)]
    for label in ("cello", "violin"):
        (root / label).mkdir()
        for number in range(NUM_PHOTOS // 2):
            behind_the_image = f"{label} {number}".encode()
            (root / label / f"{number:04d}.jpg").write_bytes(stored[number % 16] + behind_the_image)
    (root / "cello" / "0007.jpg").write_bytes(b"no image")
    return root


def jpeg(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((480, 360)).save(buffer, "JPEG")
    return buffer.getvalue()


def start_packing(photos: Path, cache: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PACK, str(photos), str(cache), str(SIZE_PX)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def pack(photos: Path, cache: Path) -> tuple[list[int], dict[str, object]]:
    """Progress calls, and the result."""
    process = start_packing(photos, cache)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    *progress, result = output.splitlines()
    return [int(line) for line in progress], json.loads(result)


def kill_when_done(photos: Path, cache: Path, num_done: int) -> None:
    process = start_packing(photos, cache)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= num_done:
            break
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait(timeout=10) == -signal.SIGKILL


def test_killed_packing_goes_on_and_ends_with_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    _, uninterrupted = pack(photos, tmp_path / "uninterrupted")
    assert uninterrupted["num_read"] == NUM_PHOTOS
    for num_done in (100, 300):  # killed twice, the second time while it goes on
        kill_when_done(photos, tmp_path / "cache", num_done)
        assert not list((tmp_path / "cache").rglob("*.npy"))
    progress, resumed = pack(photos, tmp_path / "cache")
    assert progress[0] >= 300
    assert resumed["num_read"] == NUM_PHOTOS - progress[0]
    assert (resumed["digest"], resumed["quarantine"]) == (uninterrupted["digest"], uninterrupted["quarantine"])
    assert resumed["quarantine"] == [["cello/0007.jpg", "it is in no image format that is known, or its beginning is damaged"]]
    assert Path(str(resumed["path"])).read_bytes() == Path(str(uninterrupted["path"])).read_bytes()


def test_two_processes_at_once_read_each_photo_once(photos: Path, tmp_path: Path) -> None:
    processes = [start_packing(photos, tmp_path / "cache") for _ in range(2)]
    results = [json.loads(process.communicate(timeout=60)[0].splitlines()[-1]) for process in processes]
    assert sum(result["num_read"] for result in results) == NUM_PHOTOS
    assert results[0]["digest"] == results[1]["digest"]
