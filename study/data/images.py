"""One photo, whatever its format, as an upright RGB image, and as the square of bytes that a model sees.

No torch in here: processes that only decode start in a fraction of a second.
"""

import io
import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from study.errors import DataError

Photo = str | Path | bytes | np.ndarray | Image.Image
Pixels = npt.NDArray[np.uint8]

# ImageNet's mean colour, 255 × (0.485, 0.456, 0.406): close to 0 after normalisation, so padding says nothing to a backbone.
PADDING = (124, 116, 104)
# Bilinear with antialiasing, as torchvision's ImageNet weights were evaluated.
# Source: https://docs.pytorch.org/vision/stable/models.html, "the inference transforms".
RESAMPLING = Image.Resampling.BILINEAR
# A JPEG is decoded at 1/2, 1/4 or 1/8 only where this many times the asked size is left. Measured on 148 photos of clothing10
# at 48 to 128 px, the squares then differ from a full decode by 1.3/255 at most, in the mean over a photo; with 2, by 3.7/255.
# A photo of 12 megapixels becomes a square of 224 px in 11 ms instead of 60.
DRAFT_MARGIN = 3
# What Pillow raises for damaged files. The first four: seen on 6,700 truncated or corrupted files of six formats, of which
# test_images.py repeats a part. The others: what `Image.open` itself expects of its format readers, which EXIF may meet later.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, EOFError, IndexError, struct.error)


def decode(photo: Photo, *, at_least_px: int | None = None, name: str | None = None) -> Image.Image:
    """The photo as an upright RGB image: 16 bits scaled to 8, transparency laid over `PADDING`, a film's first frame.

    Args:
        photo: a path, a file's bytes, a Pillow image, or uint8 pixels [height, width] or [height, width, 3 or 4].
        at_least_px: the longest side that the caller will reduce to: larger JPEGs may then be decoded at a fraction of their
            size, which is never under `DRAFT_MARGIN` times this. None: every pixel.
        name: what a message calls the photo; default: its path, or what it is.
    Raises:
        DataError: if the photo cannot be read, is damaged, or is so large that it looks like an attack (Pillow's limit).
    """
    try:
        image = _opened(photo)
        if at_least_px is not None and image is not photo:  # a caller's own image stays as it is
            _reduce_while_decoding(image, at_least_px)
        image.load()
        return _as_rgb(_upright(image))
    except DECODE_ERRORS as error:
        raise DataError(
            f"a photo must be a readable image, but {name or _describe(photo)} is not: {_reason(error)}. "
            f"Save it anew with an image editor, or remove it."
        ) from error


def fit_to_square(image: Image.Image, size_px: int) -> Pixels:
    """The whole RGB image as uint8 [size_px, size_px, 3]: longest side `size_px`, never stretched, centred on `PADDING`."""
    width, height = _fitted(image.size, size_px)
    if (width, height) != image.size:
        image = image.resize((width, height), RESAMPLING)
    if width == height:
        return np.array(image)
    square = Image.new("RGB", (size_px, size_px), PADDING)
    square.paste(image, ((size_px - width) // 2, (size_px - height) // 2))
    return np.array(square)


def _fitted(size: tuple[int, ...], longest_px: int) -> tuple[int, int]:
    width, height = (max(1, round(side * longest_px / max(size))) for side in size)
    return width, height


def _opened(photo: Photo) -> Image.Image:
    match photo:
        case Image.Image():
            return photo
        case np.ndarray():
            return _from_pixels(photo)
        case bytes():
            return Image.open(io.BytesIO(photo))
        case _:
            # Read whole: Pillow would keep the file of a TIFF or GIF open.
            return Image.open(io.BytesIO(Path(photo).read_bytes()))


def _from_pixels(pixels: npt.NDArray[np.generic]) -> Image.Image:
    has_colours = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or has_colours) or pixels.size == 0:
        raise ValueError(
            f"an array must be uint8 [height, width] or [height, width, 3 or 4], but is {pixels.dtype} {list(pixels.shape)}"
        )
    return Image.fromarray(pixels)


def _reduce_while_decoding(image: Image.Image, at_least_px: int) -> None:
    """Asks a JPEG that has not been read yet for a fraction of its size; nothing happens to other images."""
    for fraction in (8, 4, 2):  # what libjpeg offers
        reduced = tuple(math.ceil(side / fraction) for side in image.size)
        # Rounded up, the sides may no longer be in the same proportion: one pixel is worth 5/255 then.
        keeps_proportion = _fitted(reduced, at_least_px) == _fitted(image.size, at_least_px)
        if max(reduced) >= DRAFT_MARGIN * at_least_px and keeps_proportion:
            image.draft(image.mode, (image.width // fraction or 1, image.height // fraction or 1))
            return


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation asks; `ImageOps.exif_transpose` also rewrites the EXIF, and may fail at that."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODE_ERRORS:
        return image  # damaged EXIF says nothing about the pixels, and every viewer shows such a photo as it lies
    match orientation:
        case 2:
            return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        case 3:
            return image.transpose(Image.Transpose.ROTATE_180)
        case 4:
            return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        case 5:
            return image.transpose(Image.Transpose.TRANSPOSE)
        case 6:
            return image.transpose(Image.Transpose.ROTATE_270)
        case 7:
            return image.transpose(Image.Transpose.TRANSVERSE)
        case 8:
            return image.transpose(Image.Transpose.ROTATE_90)
        case _:
            return image


def _as_rgb(image: Image.Image) -> Image.Image:
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


def _reason(error: BaseException) -> str:
    match error:
        case UnidentifiedImageError():  # its text names a buffer's address
            return "it is in no image format that is known, or its beginning is damaged"
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(error).rstrip(".") or type(error).__name__
