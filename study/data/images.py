"""One photo, whatever its format, as an upright RGB image, and as the square of bytes that a model sees.

No torch in here: processes that only decode start in a fraction of a second.
"""

import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from study.data.file_kinds import HEIC_ADVICE
from study.data.pillow_warnings import PILLOW_WARNINGS
from study.errors import DataError

Photo = str | Path | bytes | np.ndarray | Image.Image
Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

# ImageNet's mean colour, 255 × (0.485, 0.456, 0.406): close to 0 after normalisation, so padding says nothing to a backbone.
PADDING = (124, 116, 104)
# Bilinear with antialiasing, as torchvision's ImageNet weights were evaluated.
# Source: https://docs.pytorch.org/vision/stable/models.html, "the inference transforms".
RESAMPLING = Image.Resampling.BILINEAR
# A JPEG is decoded at 1/2, 1/4 or 1/8 where this many times the asked size is left. Over 444 photos of clothing10 at 64 to
# 224 px the squares then differ from a full decode's by 0.5 to 0.8 of 255 in the mean, and by 3.2 in the worst photo; with 1,
# by up to 1.3 and 6.1; with 2, by up to 0.3 and 1.3, but 533 px are then decoded whole for 224: tests/benchmarks/RESULTS.md.
DRAFT_MARGIN = 1.15
# 160 megapixels: more than any one-shot camera has (151 in 2026), and 640 MB decoded, at Pillow's 4 bytes a pixel. A file of
# 200 kB can claim any size. Under Pillow's own limit, which is an error at 179 megapixels and a warning at half of that.
MAX_PIXELS = 160_000_000
# What photos come in (MPO, of phones and stereo cameras, is read as JPEG). Pillow knows 30 formats more: EPS starts Ghostscript
# on whatever the file says, TGA has no beginning to be known by.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
# From the 5th byte on. Source: ISO/IEC 23008-12, annex B (mif1, msf1: any codec, but Pillow has tried AVIF by then).
HEIC_BEGINNINGS = frozenset(
    b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
)
# A TIFF tag and its value: "a reduced-resolution version of another image in this file", as which DNG, NEF and ARW begin.
# Source: TIFF 6.0, section 8, NewSubfileType.
SUBFILE_TYPE = 254
IS_REDUCED = 1
# What Pillow raises for damaged files. The first five: seen on 6,700 truncated or corrupted files of six formats and 4,500 of
# nine, of which test_images.py repeats a part (RuntimeError: 81 of 500 AVIF files). The others: what `Image.open` itself
# expects of its format readers, which EXIF may meet later.
DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, Image.DecompressionBombError, RuntimeError),
    *(EOFError, IndexError, struct.error),
)


class UnreadablePhotoError(DataError):
    """A photo that is no image, is damaged, or is too large.

    Attributes:
        reason: the cause in a few words, without the photo's name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"a photo must be a readable image, but {name} is not: {reason}. Save it anew with an image editor, or remove it."
        )
        self.reason = reason


def decode(photo: Photo, *, name: str | None = None) -> Image.Image:
    """The photo as an upright RGB image of its own size, whatever it was stored as.

    16 bits are scaled to 8, transparency is laid over `PADDING`, CMYK is read as Adobe writes it (inverted), of a film the
    first frame is taken. Colour profiles are not applied.

    Args:
        photo: a path, a file's bytes, a Pillow image, or uint8 pixels [height, width] or [height, width, 3 or 4].
        name: what a message calls the photo; default: its path, or what it is.
    Raises:
        UnreadablePhotoError: if the photo cannot be read, is damaged, or has more than `MAX_PIXELS`.
    """
    try:
        with PILLOW_WARNINGS.silenced():
            image = _opened(photo)
            return _turned(_as_rgb(image), _orientation(image))
    except DECODE_ERRORS as error:
        raise UnreadablePhotoError(name or _describe(photo), reason_of(error)) from error


def square_of(photo: Photo, size_px: int, *, name: str | None = None) -> Pixels:
    """The photo as a model sees it, uint8 [size_px, size_px, 3]: as `fit_to_square(decode(photo))`, but up to 8 times sooner.

    A large JPEG is decoded at a fraction of its size (`DRAFT_MARGIN`), and turned upright when it is small already.

    Raises:
        UnreadablePhotoError: as `decode` does.
    """
    try:
        with PILLOW_WARNINGS.silenced():
            image = _opened(photo)
            whole = image.size
            box = None if image is photo else _reduce_while_decoding(image, size_px)  # a caller's own image stays as it is
            upright_later = _as_rgb(image)
            size = _fitted(whole if box else upright_later.size, size_px)
            return _padded(_turned(_resized(upright_later, size, box), _orientation(image)), size_px)
    except DECODE_ERRORS as error:
        raise UnreadablePhotoError(name or _describe(photo), reason_of(error)) from error


def fit_to_square(image: Image.Image, size_px: int) -> Pixels:
    """The whole RGB image as uint8 [size_px, size_px, 3]: longest side `size_px`, never stretched, centred on `PADDING`."""
    return _padded(_resized(image, _fitted(image.size, size_px)), size_px)


def _fitted(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    width, height = (max(1, round(side * longest_px / max(size))) for side in size)
    return width, height


def _resized(image: Image.Image, size: tuple[int, int], box: Box | None = None) -> Image.Image:
    return image if image.size == size else image.resize(size, RESAMPLING, box)


def _padded(image: Image.Image, size_px: int) -> Pixels:
    if image.width == image.height:
        return np.array(image)
    square = Image.new("RGB", (size_px, size_px), PADDING)
    square.paste(image, ((size_px - image.width) // 2, (size_px - image.height) // 2))
    return np.array(square)


def _opened(photo: Photo) -> Image.Image:
    """The image, of which only the header has been read."""
    match photo:
        case Image.Image():
            return photo
        case np.ndarray():
            return _from_pixels(photo)
        case bytes():
            image = _stored(photo)
        case _:
            # Read whole: Pillow would keep the file of a TIFF or GIF open.
            image = _stored(Path(photo).read_bytes())
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    return image


def _stored(content: bytes) -> Image.Image:
    """The image in a file."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        if content[4:12] in HEIC_BEGINNINGS:
            raise ValueError(HEIC_ADVICE) from None
        raise
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(SUBFILE_TYPE, 0) == IS_REDUCED:
        raise ValueError("only its preview can be read, as of cameras' raw data: develop it to JPEG, PNG or TIFF")
    return image


def _from_pixels(pixels: npt.NDArray[np.generic]) -> Image.Image:
    has_colours = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or has_colours) or pixels.size == 0:
        raise ValueError(
            f"an array must be uint8 [height, width] or [height, width, 3 or 4], but is {pixels.dtype} {list(pixels.shape)}"
        )
    return Image.fromarray(pixels)


def _reduce_while_decoding(image: Image.Image, at_least_px: int) -> Box | None:
    """Asks a JPEG for a fraction of its size; nothing happens to other images.

    Returns:
        The part of the reduced image that the photo fills. 533 rows halved are 267, of which the photo fills 266.5: resized
        without regard to that, the squares differ twice as much from a full decode's.
    """
    for fraction in (8, 4, 2):  # what Pillow asks of libjpeg
        if max(image.size) >= DRAFT_MARGIN * at_least_px * fraction:
            drafted = image.draft(image.mode, (image.width // fraction or 1, image.height // fraction or 1))
            return drafted[1] if drafted else None
    return None


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8; `ImageOps.exif_transpose` also rewrites the EXIF, and may fail at that."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (*DECODE_ERRORS, TypeError):
        return 1  # damaged EXIF says nothing about the pixels, and every viewer shows such a photo as it lies


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _as_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, which have no agreed white")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, (*PADDING, 255))
        return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; `convert` would clip everything above 255 to white. Mode "I" holds 16-bit files, too."""
    sixteen_bits = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray((sixteen_bits // 257).astype(np.uint8))


def _describe(photo: Photo) -> str:
    match photo:
        case Image.Image():
            return f"the image given ({photo.mode}, {photo.width} × {photo.height})"
        case np.ndarray():
            return "the array given"
        case bytes():
            return f"the photo given ({len(photo)} bytes)"
        case _:
            return str(photo)


def reason_of(error: BaseException) -> str:
    """One of `DECODE_ERRORS` in a few words, as an `UnreadablePhotoError` has it."""
    match error:
        case UnidentifiedImageError():  # its text names a buffer's address
            return "it is in no image format that is known, or its beginning is damaged"
        case Image.DecompressionBombError():
            return f"it has more than {MAX_PIXELS:,} pixels"
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(error).rstrip(".") or type(error).__name__
