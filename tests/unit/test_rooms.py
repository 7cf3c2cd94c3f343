"""The house's plan, held against the imports: arrows go downward only, and each foreign library lives in one room."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# From the top down. A room may import rooms of lower rows, and itself; rooms of one row never import each other.
ROWS = (
    ("cli",),
    ("commands",),
    ("suites",),
    ("printing", "progress", "answering", "opened"),
    ("tuning", "analysis", "predict"),
    ("search", "tracking", "training"),
    ("models",),
    ("data",),
    ("definition", "settings"),
    ("freeze_depths", "recipe_pairs"),
    ("data_definition", "search_definition", "claim_definition"),
    ("confirm_definition",),
    ("space",),
    ("validation",),
    ("trial", "intervals"),
    ("errors",),
)
SAME_ROW_BY_DESIGN = {
    ("printing", "progress"),
    ("printing", "answering"),
}  # the tables share how a recipe and a duration are written
LIBRARY_ROOMS = {"optuna": "search", "mlflow": "tracking", "ray": "tuning"}
TRAINING_CORE = ("data", "models", "training")
PACKAGE = Path(__file__).parents[2] / "study"
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def row_of(room: str) -> int:
    return next(index for index, row in enumerate(ROWS) if room in row)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_room_imports_only_rooms_below_it(file: Path) -> None:
    room = room_of(file)
    if room == "__init__":
        return
    for module in imports_of(file):
        if not module.startswith("study."):
            continue
        other = module.split(".")[1]
        is_allowed = other == room or row_of(other) > row_of(room) or (room, other) in SAME_ROW_BY_DESIGN
        assert is_allowed, f"{file} imports {module}: arrows go downward only"


@pytest.mark.parametrize("library", LIBRARY_ROOMS)
def test_a_foreign_library_is_imported_in_one_room_only(library: str) -> None:
    importing = {room_of(file) for file in FILES for module in imports_of(file) if module.split(".")[0] == library}
    assert importing <= {LIBRARY_ROOMS[library]}


@pytest.mark.parametrize("room", TRAINING_CORE)
def test_the_training_core_imports_no_ray_optuna_or_mlflow(room: str) -> None:
    files = [file for file in FILES if room_of(file) == room]
    names = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files if file.stem != "__init__"]
    modules = ", ".join(".".join(parts) for parts in names)
    code = f"import sys, {modules}; print([name for name in ('ray', 'optuna', 'mlflow', 'matplotlib') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_help_loads_nothing_that_is_slow_to_load() -> None:
    code = (
        "import sys, study.cli; "
        "print([name for name in ('torch', 'ray', 'optuna', 'mlflow', 'pydantic', 'rich', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
