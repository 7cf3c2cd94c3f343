"""Real photos for the benchmarks of training: packed into a temporary folder, with their own split."""

from argparse import ArgumentParser
from pathlib import Path

from study.data.dataset import prepare_data
from study.data.study_data import StudyData
from study.definition import parse_definition

CLOTHING = Path("../shared/data/clothing10")
SQUEEZENET_WEIGHTS = Path("../shared/data/weights/squeezenet1_0_imagenet.safetensors")


def add_photos_argument(parser: ArgumentParser) -> None:
    """The folder of photos, found from the project's root."""
    parser.add_argument("photos", type=Path, nargs="?", default=CLOTHING, help="train, validation, test with class folders")


def pack(photos: Path, size_px: int, cache: Path) -> StudyData:
    """Photos in `train`, `validation` and `test`, packed at `size_px`."""
    text = (
        f'name = "benchmark"\n[data]\nfolder = "{photos.absolute()}"\nimage_size = {size_px}\n'
        f'[space]\nbackbone = {{ choices = ["resnet18"] }}\n'
    )
    return prepare_data(parse_definition(text, cache / "benchmark.toml"), cache)
