import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from study.data.images import Photo, decode, fit_to_square
from study.data.packed import Quarantined, open_images, pack_images
from study.data.sources import FolderSource, InstrumentSource
from study.errors import DataError

WritePhotos = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, write_photos: WritePhotos) -> Path:
    return write_photos(tmp_path / "photos", {"cats": 40, "dogs": 40})  # more than one chunk


class CountingSource(FolderSource):
    """Counts the photos that are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.num_read = 0

    def read(self, photo: str) -> bytes:
        self.num_read += 1
        return super().read(photo)


def test_packed_array_holds_each_photo_as_its_square_in_order(root: Path, tmp_path: Path) -> None:
    source = FolderSource(root)
    packed = pack_images(source, 20, tmp_path / "cache")
    expected = [fit_to_square(decode(root / photo), 20) for photo in source.records.photos]
    assert np.array_equal(packed.images, np.stack(expected))
    assert packed.images.dtype == np.uint8
    assert packed.path == tmp_path / "cache" / "images" / f"{packed.digest}.npy"


def test_packed_array_is_mapped_and_read_only(root: Path, tmp_path: Path) -> None:
    images = pack_images(FolderSource(root), 16, tmp_path / "cache").images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_second_call_reads_no_photo(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    source = CountingSource(root)
    second = pack_images(source, 16, tmp_path / "cache")
    assert source.num_read == 0
    assert second.digest == first.digest


def test_touched_photos_are_hashed_again_but_not_decoded(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    (root / "cats" / "00.jpg").touch()
    decoded: list[int] = []
    second = pack_images(FolderSource(root), 16, tmp_path / "cache", lambda done, total: decoded.append(done))
    assert (second.digest, decoded) == (first.digest, [])


def test_changed_photo_changes_digest_and_pixels(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    Image.new("RGB", (24, 24), (1, 2, 3)).save(root / "cats" / "00.jpg", quality=95)
    second = pack_images(FolderSource(root), 16, tmp_path / "cache")
    assert second.digest != first.digest
    assert second.images[0].mean() < 5


def test_renamed_photo_and_other_size_change_the_digest(root: Path, tmp_path: Path) -> None:
    digests = {pack_images(FolderSource(root), size, tmp_path / "cache").digest for size in (16, 17)}
    (root / "cats" / "00.jpg").rename(root / "cats" / "zz.jpg")
    digests.add(pack_images(FolderSource(root), 16, tmp_path / "cache").digest)
    assert len(digests) == 3


def test_digest_does_not_depend_on_where_the_photos_lie(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    moved = root.rename(tmp_path / "moved")
    assert pack_images(FolderSource(moved), 16, tmp_path / "cache").digest == first.digest


def test_progress_counts_every_photo_and_ends_at_the_total(root: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    pack_images(FolderSource(root), 16, tmp_path / "cache", lambda done, total: calls.append((done, total)))
    assert calls == [(32, 80), (64, 80), (80, 80)]


def test_unreadable_photos_are_left_out_with_their_reasons(root: Path, tmp_path: Path) -> None:
    for photo, content in {
        "cats/00": b"no image",
        "cats/39": b"",
        "dogs/07": (root / "dogs/07.jpg").read_bytes()[:300],
    }.items():
        (root / f"{photo}.jpg").write_bytes(content)
    source = FolderSource(root)
    packed = pack_images(source, 16, tmp_path / "cache")
    assert [one.photo for one in packed.quarantine] == ["cats/00.jpg", "cats/39.jpg", "dogs/07.jpg"]
    assert "no image format" in packed.quarantine[0].reason
    assert "truncated" in packed.quarantine[2].reason.lower()
    assert packed.kept.tolist() == [index for index in range(80) if index not in (0, 39, 47)]
    assert packed.kept.dtype == np.int64
    expected = [fit_to_square(decode(root / source.records.photos[index]), 16) for index in packed.kept]
    assert np.array_equal(packed.images, np.stack(expected))


def test_second_call_knows_the_quarantine_without_reading_a_photo(root: Path, tmp_path: Path) -> None:
    (root / "dogs" / "07.jpg").write_bytes(b"no image")
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    source = CountingSource(root)
    second = pack_images(source, 16, tmp_path / "cache")
    assert source.num_read == 0
    assert (second.quarantine, second.digest, second.kept.tolist()) == (first.quarantine, first.digest, first.kept.tolist())


class RefusingSource(FolderSource):
    """Fails to read one photo as the operating system would."""

    def __init__(self, root: Path, error_number: int) -> None:
        super().__init__(root)
        self.error_number = error_number

    def read(self, photo: str) -> bytes:
        if photo != "dogs/07.jpg":
            return super().read(photo)
        raise DataError("refused") from OSError(self.error_number, os.strerror(self.error_number))

    def digest_of(self, photo: str) -> str:
        return hashlib.sha256(self.read(photo)).hexdigest()


def test_photo_that_only_itself_cannot_be_read_is_quarantined(root: Path, tmp_path: Path) -> None:
    packed = pack_images(RefusingSource(root, errno.EACCES), 16, tmp_path / "cache")
    assert packed.quarantine == (Quarantined("dogs/07.jpg", "Permission denied"),)
    again = pack_images(RefusingSource(root, errno.EACCES), 16, tmp_path / "cache", full_check=True)
    assert again.digest == packed.digest


def test_failing_disk_is_an_error_and_not_a_quarantine(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="refused"):
        pack_images(RefusingSource(root, errno.EIO), 16, tmp_path / "cache")


def test_source_without_a_readable_photo_is_an_error(tmp_path: Path) -> None:
    for photo in ("cats/1.jpg", "dogs/1.jpg"):
        (tmp_path / photo).parent.mkdir()
        (tmp_path / photo).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"of 2 in .* none is: cats/1\.jpg: it is in no image format"):
        pack_images(FolderSource(tmp_path), 16, tmp_path / "cache")


class StoppingSource(CountingSource):
    """Stops at a photo, as Ctrl-C would."""

    def read(self, photo: str) -> bytes:
        if photo == "dogs/39.jpg":
            raise KeyboardInterrupt
        return super().read(photo)


def stopped(root: Path, cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack_images(StoppingSource(root), 16, cache)


def test_stopped_packing_goes_on_where_it_was_and_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    (root / "cats" / "07.jpg").write_bytes(b"no image")
    whole = pack_images(FolderSource(root), 16, tmp_path / "uninterrupted")
    stopped(root, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))
    source, calls = CountingSource(root), list[int]()
    resumed = pack_images(source, 16, tmp_path / "cache", lambda done, total: calls.append(done))
    assert source.num_read == 16
    assert calls == [64, 80]
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    assert (resumed.digest, resumed.quarantine) == (whole.digest, whole.quarantine)
    assert not [file for file in (tmp_path / "cache" / "work").iterdir() if file.suffix != ".lock"]


@pytest.mark.parametrize("damage", ["torn line", "line of another work", "lost squares", "changed square", "no array"])
def test_work_that_is_not_borne_out_is_done_again(root: Path, tmp_path: Path, damage: str) -> None:
    whole = pack_images(FolderSource(root), 16, tmp_path / "uninterrupted")
    stopped(root, tmp_path / "cache")
    (array,) = (tmp_path / "cache" / "work").glob("*.array")
    (journal,) = (tmp_path / "cache" / "work").glob("*.journal")
    lines, squares = journal.read_bytes(), array.read_bytes()
    match damage:
        case "torn line":
            journal.write_bytes(lines[:-1])
        case "line of another work":
            journal.write_bytes(lines + lines)
        case "lost squares":
            array.write_bytes(squares[:-100])
        case "changed square":
            array.write_bytes(squares[:-100] + bytes(100))
        case "no array":
            array.unlink()
    source = CountingSource(root)
    assert pack_images(source, 16, tmp_path / "cache").path.read_bytes() == whole.path.read_bytes()
    assert source.num_read == {"line of another work": 16, "no array": 80}.get(damage, 48)


def test_full_check_finds_a_photo_changed_behind_its_size_and_times(root: Path, tmp_path: Path) -> None:
    class BlindSource(FolderSource):
        def fingerprint(self) -> str:
            return "the same as ever"

    first = pack_images(BlindSource(root), 16, tmp_path / "cache")
    Image.new("RGB", (24, 24), (1, 2, 3)).save(root / "cats" / "00.jpg", quality=95)
    assert pack_images(BlindSource(root), 16, tmp_path / "cache").digest == first.digest
    checked = pack_images(BlindSource(root), 16, tmp_path / "cache", full_check=True)
    assert checked.digest != first.digest
    assert pack_images(BlindSource(root), 16, tmp_path / "cache").digest == checked.digest


def test_full_check_of_unchanged_photos_decodes_none(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    calls: list[int] = []
    second = pack_images(FolderSource(root), 16, tmp_path / "cache", lambda done, total: calls.append(done), full_check=True)
    assert (second.digest, calls) == (first.digest, [])


def test_full_check_mends_an_array_with_a_changed_byte(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    content = first.path.read_bytes()
    first.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert pack_images(FolderSource(root), 16, tmp_path / "cache", full_check=True).path.read_bytes() == content


def test_disk_that_is_too_small_is_told_before_decoding(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    source = CountingSource(root)
    with pytest.raises(DataError, match="does not take them: No space left on device"):
        pack_images(source, 16, tmp_path / "cache")
    assert source.num_read == 0


def test_photos_that_change_while_being_packed_are_an_error(root: Path, tmp_path: Path) -> None:
    def change(done: int, total: int) -> None:
        (root / "cats" / "00.jpg").touch()

    with pytest.raises(DataError, match="must not change while they are packed"):
        pack_images(FolderSource(root), 16, tmp_path / "cache", change)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_two_at_once_decode_once(root: Path, tmp_path: Path) -> None:
    both_looked = threading.Barrier(2)
    decoded: list[int] = []

    class MeetingSource(FolderSource):
        """Goes on to its first photo when the other one is as far: both have then found nothing packed."""

        has_met = False

        def fingerprint(self) -> str:
            if not self.has_met:
                self.has_met = True
                both_looked.wait(timeout=5)
            return super().fingerprint()

    def pack() -> None:
        pack_images(MeetingSource(root), 16, tmp_path / "cache", lambda done, total: decoded.append(done))

    threads = [threading.Thread(target=pack) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decoded == [32, 64, 80]


def test_damaged_index_is_made_anew(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    for file in (tmp_path / "cache" / "index").iterdir():
        file.write_text("{")
    assert pack_images(FolderSource(root), 16, tmp_path / "cache").digest == first.digest


def test_deleted_array_is_made_anew(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    first.path.unlink()
    assert np.array_equal(pack_images(FolderSource(root), 16, tmp_path / "cache").images, first.images)


def test_truncated_array_is_made_anew(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    content = first.path.read_bytes()
    first.path.write_bytes(content[:1000])
    assert pack_images(FolderSource(root), 16, tmp_path / "cache").path.read_bytes() == content


def test_array_without_its_description_is_made_anew(root: Path, tmp_path: Path) -> None:
    first = pack_images(FolderSource(root), 16, tmp_path / "cache")
    first.path.with_suffix(".json").unlink()
    assert pack_images(FolderSource(root), 16, tmp_path / "cache").digest == first.digest


def test_truncated_array_is_an_error_that_says_what_to_do(root: Path, tmp_path: Path) -> None:
    path = pack_images(FolderSource(root), 16, tmp_path / "cache").path
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"must be uint8 \[80, 16, 16, 3\], but .* is unreadable: .*Delete it"):
        open_images(path, 80, 16)


def test_array_of_another_shape_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"but .*other\.npy is uint8 \[2, 3\]"):
        open_images(tmp_path / "other.npy", 2, 16)


def test_cache_folder_that_cannot_be_written_is_an_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"need 0 MiB in a writable folder, but .*cache does not take them.*set STUDY_CACHE"):
        pack_images(FolderSource(root), 16, tmp_path / "cache")


def test_generated_photos_are_packed_once_for_all_targets(tmp_path: Path) -> None:
    class UndrawableSource(InstrumentSource):
        def read(self, photo: str) -> Photo:
            raise AssertionError(photo)

    first = pack_images(InstrumentSource(60, "type", 0, 24), 24, tmp_path / "cache")
    second = pack_images(UndrawableSource(60, "view", 0, 24), 24, tmp_path / "cache")
    assert first.images.shape == (60, 24, 24, 3)
    assert second.digest == first.digest


@pytest.mark.shared_data
def test_real_greyscale_photos_are_packed_too(shared_data: Path, tmp_path: Path) -> None:
    packed = pack_images(FolderSource(shared_data / "caltech_instruments" / "images"), 64, tmp_path)
    assert packed.images.shape == (408, 64, 64, 3)
