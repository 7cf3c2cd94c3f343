import io
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.data.images import FORMATS, PADDING, UnreadablePhotoError, decode, fit_to_square, square_of
from study.data.pillow_warnings import PILLOW_WARNINGS

# Red, green / blue, white: every turn and flip of it is different.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def patterned(width: int, height: int) -> Image.Image:
    """Smooth with some texture, as a photo is."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(columns / 19 + channel) * np.cos(rows / 23 - channel) for channel in range(3)]
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    return Image.fromarray((np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_becomes_rgb(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    image = decode(encoded(Image.new("RGB", (6, 4), (200, 30, 60)), file_format, **options))
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 60)).max() <= 3  # JPEG's loss


UPRIGHT_BY_ORIENTATION = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: np.rot90(CORNERS, -1),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNERS),
}


@pytest.mark.parametrize("orientation", UPRIGHT_BY_ORIENTATION)
def test_photo_is_turned_upright_by_its_exif_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(Image.fromarray(CORNERS), "PNG", exif=exif)
    assert np.array_equal(np.asarray(decode(stored)), UPRIGHT_BY_ORIENTATION[orientation])


def test_damaged_exif_does_not_make_a_photo_unreadable() -> None:
    stored = encoded(Image.fromarray(CORNERS), "PNG", exif=b"Exif\0\0nonsense that is no TIFF header")
    assert np.array_equal(np.asarray(decode(stored)), CORNERS)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = Image.fromarray(np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16))
    assert np.asarray(decode(encoded(grey, "PNG")))[..., 0].tolist() == [[0, 100], [200, 255]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_padding(mode: str) -> None:
    clear = Image.new("RGBA", (2, 2), (10, 10, 10, 0)).convert(mode)
    assert decode(encoded(clear, "PNG")).getpixel((0, 0)) == PADDING


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_colour_that_stands_for_transparency_becomes_padding(mode: str) -> None:
    clear = (0, 0, 0) if mode == "RGB" else 0
    assert decode(encoded(Image.new(mode, (2, 2), clear), "PNG", transparency=clear)).getpixel((0, 0)) == PADDING


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    image = decode(Image.new("RGB", (3, 3), (255, 255, 255)).convert(mode))
    assert image.mode == "RGB"
    assert image.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("colour", [(255, 255, 255), (200, 30, 60), (0, 0, 0)])
def test_printers_colours_are_read_as_adobe_stores_them_inverted(colour: tuple[int, int, int]) -> None:
    stored = encoded(Image.new("RGB", (8, 8), colour).convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in stored[:200]
    assert np.abs(np.asarray(decode(stored)).astype(int) - colour).max() <= 3


def test_sixteen_bit_colour_is_scaled() -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 257 * 100, 0) * 2 for _ in range(2))
    assert np.asarray(decode(png_of_16_bits(2, 2, rows))).tolist() == [[[255, 100, 0]] * 2] * 2


def png_of_16_bits(width: int, height: int, rows: bytes) -> bytes:
    """RGB with 16 bits a channel, which Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_only_the_first_frame_of_a_film_is_read(file_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    first = decode(encoded(frames[0], file_format, save_all=True, append_images=frames[1:]))
    assert np.asarray(first).mean(axis=(0, 1)) == pytest.approx([255, 0, 0], abs=5)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_arrays_of_pixels_are_photos(shape: tuple[int, ...]) -> None:
    assert decode(np.full(shape, 255, dtype=np.uint8)).size == (7, 5)


@pytest.mark.parametrize(
    "pixels", [np.zeros((5, 7, 2), np.uint8), np.zeros((5, 7, 3), np.float32), np.zeros((0, 7, 3), np.uint8)]
)
def test_array_of_another_kind_is_refused_with_the_rule(pixels: np.ndarray) -> None:
    with pytest.raises(UnreadablePhotoError, match=r"must be uint8 \[height, width\]"):
        decode(pixels)


def test_paths_as_text_and_as_path_are_photos(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "photo.png")
    assert decode(tmp_path / "photo.png").size == decode(str(tmp_path / "photo.png")).size == (6, 4)


def test_missing_photo_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePhotoError, match=r"none\.jpg is not: No such file"):
        decode(tmp_path / "none.jpg")


def test_truncated_photo_is_named_with_the_reason() -> None:
    stored = encoded(patterned(64, 64), "JPEG")
    with pytest.raises(UnreadablePhotoError, match=r"(?i)cats/1\.jpg is not: .*truncated"):
        decode(stored[: len(stored) // 2], name="cats/1.jpg")


def test_file_that_is_no_image_is_refused_without_an_address_in_the_message() -> None:
    with pytest.raises(UnreadablePhotoError, match=r"photo given \(5 bytes\) is not: it is in no image format") as raised:
        decode(b"hello")
    assert "0x" not in str(raised.value)


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels; the data are those of 1."""
    stored = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    stored[16:24] = struct.pack(">II", width, height)
    stored[29:33] = struct.pack(">I", zlib.crc32(stored[12:29]))
    return bytes(stored)


@pytest.mark.parametrize("side", [12_650, 13_300, 100_000])
def test_photo_of_too_many_pixels_is_refused_unread_and_without_a_warning(side: int) -> None:
    for read in (decode, lambda photo: square_of(photo, 8)):
        with pytest.raises(UnreadablePhotoError) as raised:
            read(claiming(side, side))
        assert raised.value.reason == "it has more than 160,000,000 pixels"


def test_large_photo_below_the_limit_is_read_without_pillows_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert decode(encoded(Image.new("L", (10, 6)), "PNG")).size == (10, 6)


def test_silenced_warnings_are_heard_again_after_decoding_in_threads() -> None:
    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decode(encoded(Image.new("L", (10, 6)), "PNG")), range(200)))
    assert warnings.filters == filters
    with pytest.warns(UserWarning, match="not of Pillow"), PILLOW_WARNINGS.silenced():
        warnings.warn("not of Pillow", stacklevel=1)


def test_png_called_jpg_is_read_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(Image.fromarray(CORNERS), "PNG"))
    assert np.array_equal(np.asarray(decode(tmp_path / "photo.jpg")), CORNERS)


def test_postscript_is_not_handed_to_an_interpreter() -> None:
    with pytest.raises(UnreadablePhotoError, match="no image format that is known"):
        decode(encoded(Image.new("RGB", (6, 4)), "EPS"))


def test_floating_point_image_is_refused() -> None:
    with pytest.raises(UnreadablePhotoError, match="no agreed white"):
        decode(Image.new("F", (4, 4)))


@pytest.mark.parametrize("file_format", FORMATS)
def test_damaged_photo_is_read_or_refused_but_never_crashes(file_format: str) -> None:
    stored = encoded(patterned(40, 30), file_format)
    generator = random.Random(0)
    damaged = [stored[:length] for length in range(0, len(stored), len(stored) // 40)]
    for _ in range(120):
        changed = bytearray(stored)
        changed[generator.randrange(min(300, len(changed)))] = generator.randrange(256)
        damaged.append(bytes(changed))
    for photo in damaged:
        try:
            assert decode(photo).mode == "RGB"
            assert square_of(photo, 8).shape == (8, 8, 3)
        except UnreadablePhotoError:
            continue


def test_callers_image_is_left_as_it_was() -> None:
    lazy = Image.open(io.BytesIO(encoded(patterned(640, 480), "JPEG")))
    square_of(lazy, 32)
    assert lazy.size == (640, 480)


def difference(stored: bytes | Path, size_px: int) -> float:
    """Mean absolute difference, of 255, that reduced decoding makes in the square."""
    full = fit_to_square(decode(stored), size_px).astype(int)
    return float(np.abs(full - square_of(stored, size_px)).mean())


@pytest.mark.parametrize("size_px", [48, 64, 100, 200])
@pytest.mark.parametrize("size", [(640, 480), (479, 641), (400, 409), (5000, 3)])
def test_reduced_decoding_gives_nearly_the_same_square(size: tuple[int, int], size_px: int) -> None:
    assert difference(encoded(patterned(*size), "JPEG", quality=90), size_px) < 2


@pytest.mark.parametrize("orientation", UPRIGHT_BY_ORIENTATION)
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_reduced_decoding_and_turning_go_together(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(encoded(patterned(401, 203), file_format, exif=exif), 64) < 1


def test_photo_that_needs_no_reduced_decoding_gives_the_very_same_square() -> None:
    assert difference(encoded(patterned(100, 80), "JPEG"), 64) == 0
    assert difference(encoded(patterned(640, 480), "PNG"), 64) == 0


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printers_jpegs_are_reduced_alike(mode: str) -> None:
    assert difference(encoded(patterned(640, 480).convert(mode), "JPEG"), 64) < 2


@pytest.mark.parametrize(("size_px", "decoded_px"), [(64, 100), (100, 200), (300, 400), (600, 800)])
def test_large_jpeg_is_decoded_at_the_smallest_fraction_that_leaves_a_margin(
    size_px: int, decoded_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resized: list[int] = []
    monkeypatch.setattr(Image.Image, "resize", recording(Image.Image.resize, resized))
    square_of(encoded(patterned(800, 600), "JPEG"), size_px)
    assert resized == [decoded_px]


def recording(resize: Callable[..., Image.Image], widths: list[int]) -> Callable[..., Image.Image]:
    def recorded(image: Image.Image, *arguments: object) -> Image.Image:
        widths.append(image.width)
        return resize(image, *arguments)

    return recorded


@pytest.mark.shared_data
@pytest.mark.parametrize("size_px", [64, 112, 224])
def test_real_photos_differ_by_little_when_decoding_is_reduced(shared_data: Path, size_px: int) -> None:
    photos = sorted((shared_data / "clothing10" / "validation").rglob("*.jpg"))[::7]
    differences = [difference(photo, size_px) for photo in photos]
    assert np.mean(differences) < 1
    assert max(differences) < 4


def test_wide_photo_is_padded_above_and_below_and_not_stretched() -> None:
    square = fit_to_square(Image.new("RGB", (40, 20), (9, 9, 9)), 8)
    assert square.dtype == np.uint8
    assert square.shape == (8, 8, 3)
    assert (square[2:6] == 9).all()
    assert (square[[0, 1, 6, 7]] == PADDING).all()


def test_tall_photo_is_padded_left_and_right() -> None:
    square = fit_to_square(Image.new("RGB", (20, 40), (9, 9, 9)), 8)
    assert (square[:, 2:6] == 9).all()
    assert (square[:, [0, 1, 6, 7]] == PADDING).all()


def test_small_photo_is_enlarged_to_the_square() -> None:
    assert (fit_to_square(Image.new("RGB", (3, 3), (9, 9, 9)), 16) == 9).all()


def test_line_of_pixels_keeps_one_pixel_of_width() -> None:
    square = fit_to_square(Image.new("RGB", (5000, 1), (9, 9, 9)), 32)
    assert (square == 9).all(axis=(1, 2)).sum() == 1


def test_reduction_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit_to_square(Image.fromarray(stripes), 8).astype(int) - 127).max() < 10


def test_square_may_be_written_to() -> None:
    fit_to_square(Image.new("RGB", (8, 8)), 8)[0, 0, 0] = 1  # torch.from_numpy warns of arrays that may not


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_is_told_as_such_whatever_the_file_is_called(tmp_path: Path, brand: bytes) -> None:
    file = tmp_path / "phone.jpg"
    file.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand + b"heic" + bytes(200))
    with pytest.raises(UnreadablePhotoError, match=r"phone\.jpg is not: HEIC is not read: save it as JPEG, PNG or AVIF"):
        decode(file)


def test_the_preview_of_raw_data_is_not_taken_for_the_photo() -> None:
    """DNG, NEF and ARW are TIFF files whose first image is a preview of some 160 px."""
    for subfile_type, is_read in ((0, True), (1, False)):
        stored = io.BytesIO()
        Image.new("RGB", (16, 12), "red").save(stored, "TIFF", tiffinfo={254: subfile_type})
        if is_read:
            assert decode(stored.getvalue()).size == (16, 12)
        else:
            with pytest.raises(UnreadablePhotoError, match="only its preview can be read.*develop it to JPEG"):
                decode(stored.getvalue())
