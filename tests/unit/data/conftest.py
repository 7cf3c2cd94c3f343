"""Small photos and definitions, made on the spot."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.definition import StudyDefinition, parse_definition

WritePhotos = Callable[[Path, Mapping[str, int]], Path]
DefinitionOf = Callable[[str], StudyDefinition]


@pytest.fixture
def write_photos() -> WritePhotos:
    """Writes so many different photos of 24 × 16 px into each sub-folder of a root, and returns the root."""

    def write(root: Path, num_of: Mapping[str, int]) -> Path:
        generator = np.random.default_rng(0)
        for folder, number in num_of.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for place in range(number):
                pixels = generator.integers(0, 256, (16, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{place:02d}.jpg")
        return root

    return write


@pytest.fixture
def definition_of(tmp_path: Path) -> DefinitionOf:
    """The definition with this `[data]` table (and `[data.split]` below it)."""

    def define(data: str) -> StudyDefinition:
        text = f'name = "sorting"\n[space]\nbackbone = {{ choices = ["resnet18"] }}\n[data]\n{data}\n'
        return parse_definition(text, tmp_path / "sorting.toml")

    return define
