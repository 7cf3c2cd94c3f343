import json
from pathlib import Path

import pytest
from PIL import Image

from study.tracking.figures import save_class_balance


@pytest.mark.parametrize("num_classes", [0, 1, 40])
def test_class_balance_is_a_png_beside_the_numbers_it_shows(num_classes: int, tmp_path: Path) -> None:
    counts = {f"class {place}": {"train": 3 * place, "val": place, "test": 1} for place in range(num_classes)}
    save_class_balance(counts, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "class_balance.json").read_text()) == counts
    with Image.open(tmp_path / "new" / "class_balance.png") as figure:
        assert figure.format == "PNG"
