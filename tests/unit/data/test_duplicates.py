import io
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from study.data import duplicates
from study.data.duplicates import DuplicateSet, correlation, find_duplicates, find_sets, sign, signature_of
from study.data.images import decode, fit_to_square
from study.data.instruments.collection import draw, plan_collection
from study.errors import DataError

SIZE_PX = 160
# Pairs in Caltech's instruments that are one photo twice, recoloured or before another background; looked at.
KNOWN_TWINS = {("0002", "0077"), ("0003", "0046"), ("0006", "0014"), ("0009", "0072"), ("0041", "0051")}


def packed(photos: list[Image.Image]) -> np.ndarray:
    return np.stack([fit_to_square(photo.convert("RGB"), SIZE_PX) for photo in photos])


@pytest.fixture(scope="module")
def drawings() -> list[Image.Image]:
    return [draw(photo, 400).convert("RGB") for photo in plan_collection(40, seed=0)]


def as_jpeg(photo: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return decode(buffer.getvalue())


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda photo: as_jpeg(photo.resize((photo.width // 2, photo.height // 2)), 90),
    "compressed": lambda photo: as_jpeg(photo, 30),
    "brighter": lambda photo: as_jpeg(ImageEnhance.Brightness(photo).enhance(1.05), 90),
    "grey": lambda photo: as_jpeg(photo.convert("L").convert("RGB"), 90),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found_and_nothing_else(copy: str, drawings: list[Image.Image]) -> None:
    photos = [*drawings, *(COPIES[copy](photo) for photo in drawings)]
    sets = find_sets(sign(packed(photos)), max_distance=4)
    assert {found.members for found in sets} <= {(place, place + 40) for place in range(40)}
    assert len(sets) >= 38


def test_equal_pixels_are_told_from_near_copies(drawings: list[Image.Image]) -> None:
    photos = [drawings[0], drawings[1], drawings[0], as_jpeg(drawings[1], 60)]
    assert find_sets(sign(packed(photos)), 4) == (DuplicateSet((0, 2), is_exact=True), DuplicateSet((1, 3), is_exact=False))


def test_copies_of_copies_are_one_set(drawings: list[Image.Image]) -> None:
    photos = [drawings[0], as_jpeg(drawings[0], 70), drawings[5], drawings[0], as_jpeg(drawings[0], 40)]
    assert find_sets(sign(packed(photos)), 4) == (DuplicateSet((0, 1, 3, 4), is_exact=False),)


def test_photos_of_one_colour_are_duplicates_only_of_their_equals() -> None:
    plain = [Image.new("RGB", (20, 20), (shade, shade, shade)) for shade in (0, 90, 255, 90)]
    assert find_sets(sign(packed(plain)), 64) == (DuplicateSet((1, 3), is_exact=True),)


def test_no_photo_and_one_photo_have_no_duplicates() -> None:
    assert find_sets(sign(np.empty((0, 8, 8, 3), np.uint8)), 4) == ()
    assert find_sets(sign(np.zeros((1, 8, 8, 3), np.uint8)), 4) == ()


def test_perceptual_hash_is_imagehashs_of_the_packed_photo(drawings: list[Image.Image]) -> None:
    for photo in packed(drawings):
        bits = imagehash.phash(Image.fromarray(photo)).hash
        assert signature_of(photo)[1] == int("".join("01"[int(bit)] for bit in bits.ravel()), 2)


def test_correlation_does_not_see_light_and_contrast_but_edges() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.integers(50, 100, (2, 1, 32, 32), dtype=np.uint8)
    assert correlation(one, one * 2 + 20) == pytest.approx(1)
    assert abs(correlation(one, other)) < 0.1
    assert correlation(one, np.zeros_like(one)) == 0


def test_sets_are_found_once_and_kept_beside_the_array(
    drawings: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = packed([*drawings[:3], *drawings[:3]])
    first = find_duplicates(images, tmp_path / "abc.npy", 4)
    assert len(first) == 3
    assert sorted(file.name.split(".")[0] for file in tmp_path.iterdir()) == ["abc", "abc"]
    monkeypatch.setattr(duplicates, "sign", None)
    assert find_duplicates(images, tmp_path / "abc.npy", 4) == first
    assert find_duplicates(images, tmp_path / "abc.npy", 0) == first  # from the same signatures


def test_damaged_files_are_made_anew(drawings: list[Image.Image], tmp_path: Path) -> None:
    images = packed([*drawings[:3], *drawings[:3]])
    first = find_duplicates(images, tmp_path / "abc.npy", 4)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-5])
    assert find_duplicates(images, tmp_path / "abc.npy", 4) == first


def test_a_folder_that_does_not_take_the_signatures_is_an_error(drawings: list[Image.Image], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="signatures need 0 MiB in a writable folder"):
        find_duplicates(packed(drawings[:2]), tmp_path / "file" / "abc.npy", 4)


@pytest.mark.shared_data
def test_real_photos_that_are_said_to_hold_no_duplicates_hold_those_that_eyes_confirmed(shared_data: Path) -> None:
    folder = shared_data / "caltech_instruments" / "images" / "grand_piano"
    photos = sorted(folder.iterdir())
    sets = find_sets(sign(packed([decode(photo) for photo in photos])), 4)
    found = {tuple(photos[member].stem.removeprefix("image_") for member in one.members) for one in sets}
    assert found == KNOWN_TWINS


@pytest.mark.shared_data
def test_real_photos_have_imagehashs_hash_and_no_false_twin(shared_data: Path) -> None:
    photos = sorted((shared_data / "clothing10").rglob("*.jpg"))[::12]
    images = packed([decode(photo) for photo in photos])
    assert find_sets(sign(images), 4) == ()
    for image in images[:40]:
        packed_bits = np.packbits(imagehash.phash(Image.fromarray(image)).hash)
        assert signature_of(image)[1] == int.from_bytes(packed_bits.tobytes())
