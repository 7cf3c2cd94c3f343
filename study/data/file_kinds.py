"""What a file is by its name: a photo that is read, one that is not, or plainly none. No content is read: a million would be.

Nothing that may be a photo is passed over without a word; only what lies beside photos everywhere is.
"""

import os


def _endings(*words: str) -> frozenset[str]:
    return frozenset(f".{word}" for line in words for word in line.split())


# What Pillow calls the formats of `images.FORMATS`, which a test compares; MPO is read as JPEG.
PHOTO_ENDINGS = _endings(
    "jpg jpeg jpe jfif mpo",
    "png apng",
    "webp",
    "gif",
    "tif tiff",
    "bmp",
    "ppm pgm pbm pnm pfm",
    "jp2 j2k j2c jpc jpf jpx",
    "avif avifs",
)
HEIC_ADVICE = "HEIC is not read: save it as JPEG, PNG or AVIF (the plugin pillow-heif is not used here)"
HEIC_ENDINGS = _endings("heic heif hif heics heifs")
# Cameras' own. Most are TIFF inside: what Pillow would read of them is a preview of some 160 px.
# Source: https://en.wikipedia.org/wiki/Raw_image_format, "raw filename extensions", without .tif, .data and films.
RAW_ENDINGS = _endings(
    "3fr ari arw bay cap cr2 cr3 crw dcr dcs dng drf eip erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw",
    "orf pef ptx pxn r3d raf raw rw2 rwl rwz sr2 srf srw x3f",
)
# Other pictures, of which nobody would say that they are no photos.
OTHER_ENDINGS = _endings(
    "ai cur dcm dcx dds dib djvu emf eps exr fits fpx hdr icns ico indd jls jng jxl jxr jxs pcd pcx pict psb psd",
    "qoi sgi svg svgz tga wdp wmf xbm xcf xpm",
)
# Text and tables, code and settings, what cameras and systems put beside photos, sound and films, archives and models.
NO_PHOTO_ENDINGS = _endings(
    "txt md rst csv tsv tab json jsonl ndjson xml html htm css log lst doc docx odt rtf xls xlsx ods ppt pptx bib tex",
    "parquet feather arrow db sqlite sql js py pyc ipynb r m sh bat ps1 yaml yml toml ini cfg conf",
    "md5 sha1 sha256 sha512 sig asc lnk url webloc desktop xmp aae thm",
    "mp3 wav m4a flac ogg mp4 mov m4v avi mkv webm mpg mpeg 3gp",
    "zip tar gz tgz bz2 xz zst 7z rar pt pth safetensors onnx",
)


def ending_of(name: str) -> str:
    """A file's ending in small letters, with its dot; "" where it has none."""
    return os.path.splitext(name)[1].lower()  # `PurePath.suffix` takes several times as long, and there may be a million


def is_photo(name: str) -> bool:
    """Whether a file of this name is read as a photo."""
    return ending_of(name) in PHOTO_ENDINGS


def why_unreadable(name: str) -> str:
    """Why a file of this name is a photo, but none that is read, and what to do about it; "" for other files."""
    ending = ending_of(name)
    if ending in HEIC_ENDINGS:
        return HEIC_ADVICE
    if ending in RAW_ENDINGS:
        return f"a camera's raw data ({ending}) are not read: develop them to JPEG, PNG or TIFF"
    if ending in OTHER_ENDINGS:
        return f"{ending} is not read: save it as JPEG, PNG or TIFF"
    return ""


def why_unknown(name: str) -> str:
    """Why nobody can say whether a file of this name is a photo; "" where it is one, or plainly is none."""
    ending = ending_of(name)
    if ending in PHOTO_ENDINGS or ending in NO_PHOTO_ENDINGS or why_unreadable(name):
        return ""
    return f"{ending} is no known ending of a photo" if ending else "without an ending nobody knows whether it is a photo"


def photo_endings() -> str:
    """The endings that are read, for a message."""
    return " ".join(sorted(ending[1:] for ending in PHOTO_ENDINGS))
