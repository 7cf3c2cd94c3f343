"""Each mistake that a person can make: exit 2, one line that says what to do, and nothing left behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from safetensors.torch import save_file

from study.errors import TrackingError
from study.models.backbones import make_network
from study.tracking.mlflow_tracker import MlflowTracker

from .conftest import TINY, Workplace

Invoke = Callable[..., Result]


def noise(seed: int) -> Image.Image:
    """A photo that looks like no other: flat ones would be duplicates."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 40, 3), dtype=np.uint8))


def photos(root: Path, counts: dict[str, int]) -> Path:
    """A folder of small photos; `counts` by sub-folder."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for index in range(count):
            noise(seed=1000 * len(folder) + index).save(root / folder / f"{index}.png")
    return root


def on_folder(root: Path) -> str:
    start, end = TINY.index("generated"), TINY.index("image_size")
    return f'{TINY[:start]}folder = "{root}"\n{TINY[end:]}'


def broken_photo(root: Path) -> None:
    photos(root, {"cat": 6, "dog": 6})
    (root / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nthis is no photo")


FOLDERS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing folder": (lambda root: None, ("photos", "folder")),
    "one class only": (lambda root: photos(root, {"cat": 6}), ("cat", "class")),
    "an empty class": (lambda root: photos(root, {"cat": 6, "dog": 6, "owl": 0}), ("owl",)),
    "a class in test only": (
        lambda root: photos(
            root, {f"{split}/{name}": 3 for split in ("train", "val", "test") for name in ("cat", "dog")} | {"test/owl": 3}
        ),
        ("owl", "test"),
    ),
    "unreadable photo": (broken_photo, ("3.png",)),
}


def assert_is_one_line_of_advice(result: Result, workplace: Workplace, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    [line] = [line for line in result.stderr.splitlines() if line]
    assert line.startswith("Error: ")
    for part in parts:
        assert part in line
    assert workplace.stores() == []


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("make", "parts"), FOLDERS.values(), ids=FOLDERS.keys())
def test_photos_that_cannot_be_used(
    make: Callable[[Path], object],
    parts: tuple[str, ...],
    command: str,
    invoke: Invoke,
    workplace: Workplace,
    tmp_path: Path,
) -> None:
    root = tmp_path / "photos"
    make(root)
    file = workplace.write(on_folder(root))
    assert_is_one_line_of_advice(invoke([command, file]), workplace, *parts)


DEFINITIONS = {
    "unknown key": ("epochs = 3", "epoch = 3", ("`trial.epoch`", "Did you mean `epochs`")),
    "wrong type": ("epochs = 3", 'epochs = "3"', ("`trial.epochs`", "'3'")),
    "low over high": ("low = 1e-4", "low = 1", ("`optimizer.lr`", "low < high")),
    "log range at 0": ("low = 1e-4", "low = 0", ("`optimizer.lr`", "low > 0")),
    "condition on an unknown key": (
        "log = true",
        'log = true, when = { "optimizer.nam" = ["sgd"] }',
        ("optimizer.nam", "Did you mean `optimizer.name`"),
    ),
    "unknown backbone": ('"squeezenet1_0"', '"squeezenet_1"', ("squeezenet_1", "Did you mean `squeezenet1_")),
    "image too small": ("image_size = 32", "image_size = 16", ("squeezenet1_0", "16")),
    "unknown pruner": ('name = "median"', 'name = "medan"', ("medan", "Did you mean `median`")),
    "missing weights file": ('weights = "none"', 'weights = "absent.pth"', ("absent.pth",)),
}


@pytest.mark.parametrize(("old", "new", "parts"), DEFINITIONS.values(), ids=DEFINITIONS.keys())
def test_definitions_that_cannot_be_run(
    old: str, new: str, parts: tuple[str, ...], invoke: Invoke, workplace: Workplace
) -> None:
    assert old in TINY
    file = workplace.write(TINY.replace(old, new))
    assert_is_one_line_of_advice(invoke(["run", file]), workplace, *parts)


def test_weights_of_the_wrong_shape_are_found_before_anything_trains(invoke: Invoke, workplace: Workplace) -> None:
    tensors = make_network("squeezenet1_0").state_dict()
    tensors["classifier.1.weight"] = torch.zeros(7, 512, 1, 1)
    save_file(tensors, workplace.folder / "weights.toml")  # a name that `stores` passes over
    shutil.move(workplace.folder / "weights.toml", workplace.folder.parent / "wrong.safetensors")
    file = workplace.write(TINY.replace('weights = "none"', 'weights = "../wrong.safetensors"'))
    assert_is_one_line_of_advice(invoke(["run", file]), workplace, "wrong.safetensors", "classifier.1.weight", "7")


def test_an_mlflow_server_that_is_not_there(invoke: Invoke, workplace: Workplace) -> None:
    file = workplace.write(TINY)
    result = invoke(["run", file], MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert_is_one_line_of_advice(result, workplace, "http://127.0.0.1:9", "mlflow server")


def test_a_ray_cluster_that_is_not_there(invoke: Invoke, workplace: Workplace) -> None:
    file = workplace.write(TINY)
    for result in (invoke(["run", file], RAY_ADDRESS="127.0.0.1:9"), invoke(["run", file, "--address", "127.0.0.1:9"])):
        assert result.exit_code == 2
        assert "must be a running Ray cluster, but nothing answers at 127.0.0.1:9" in result.stderr


def test_a_storage_that_cannot_be_opened_leaves_no_run(invoke: Invoke, workplace: Workplace) -> None:
    file = workplace.write(TINY)
    result = invoke(["run", file], STUDY_STORAGE=str(file / "study.journal"))
    assert result.exit_code == 2
    assert "STUDY_STORAGE must be a writable file" in result.stderr
    assert invoke(["list", "--json"]).stdout.strip() == "[]"


def test_a_name_that_is_used(invoke: Invoke, workplace: Workplace) -> None:
    file = workplace.write(TINY.replace("trials = 6", "trials = 1").replace("epochs = 3", "epochs = 1"))
    assert invoke(["run", file, "--in-process"]).exit_code == 0
    before = workplace.stores()
    result = invoke(["run", file, "--in-process"])
    assert result.exit_code == 2
    assert "a study's name must be new, but 'tiny' exists" in result.stderr
    assert "study resume tiny" in result.stderr
    assert workplace.stores() == before
    assert len(result.stderr.splitlines()) == 1


def test_a_start_that_mlflow_refused_can_be_made_again(
    invoke: Invoke, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = workplace.write(TINY.replace("trials = 6", "trials = 1").replace("epochs = 3", "epochs = 1"))

    def refuse(*anything: object) -> None:
        raise TrackingError("MLflow must keep the files, but: there is no bucket.")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowTracker, "log_artifacts", refuse)
        assert "there is no bucket" in invoke(["run", file, "--in-process"]).stderr
    assert invoke(["run", file, "--in-process"]).exit_code == 0


def test_a_study_is_not_resumed_on_other_photos(invoke: Invoke, workplace: Workplace, tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", {"cat": 8, "dog": 8})
    text = on_folder(root).replace("trials = 6", "trials = 1").replace("epochs = 3", "epochs = 1")
    assert invoke(["run", workplace.write(text), "--in-process"]).exit_code == 0
    noise(seed=7).save(root / "cat" / "new.png")
    result = invoke(["resume", "tiny", "--in-process"])
    assert result.exit_code == 2
    assert "a resumed study needs the photos that it began with" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "absent.toml"], ("there is no absent.toml",)),
        (["resume", "absent"], ("no 'absent'",)),
        (["show", "absent"], ("no 'absent'",)),
        (["predict", "models:/absent@champion", "x.jpg"], ("absent",)),
        (["predict", "absent", "x.jpg"], ("no folder 'absent'",)),
        (["pull", "models:/absent@champion", "out"], ("absent",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_names_that_lead_nowhere(arguments: list[str], parts: tuple[str, ...], invoke: Invoke) -> None:
    result = invoke(arguments)
    assert result.exit_code == 2, result.output
    [line] = result.stderr.splitlines()
    for part in parts:
        assert part in line
