"""What an attacker leaves in a model's folder: files that run code wherever somebody unpickles, imports or evaluates them."""

import pickle
from pathlib import Path
from typing import Any

PICKLES = ("python_model.pkl", "model.pkl", "weights.pkl", "weights.pth", "weights.pt", "data.pkl", "pytorch_model.bin")
MODULES = ("__init__.py", "conftest.py", "sitecustomize.py", "weights.py", "contract.py", "loader.py")


def _writing(proof: Path) -> str:
    return f"import pathlib; pathlib.Path({str(proof)!r}).write_text('executed')"


class _Planted:
    """Unpickled, it writes a file."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (_writing(self._proof),))


def plant_code(folder: Path, proof: Path) -> None:
    """Plants pickles and modules in `folder`, and below it; whichever is executed writes to `proof`."""
    for place in (folder, folder / "artifacts", folder / "data"):
        place.mkdir(parents=True, exist_ok=True)
        for name in PICKLES:
            (place / name).write_bytes(pickle.dumps(_Planted(proof)))
        for name in MODULES:
            if not (place / name).exists():
                (place / name).write_text(_writing(proof))


def is_armed(folder: Path, proof: Path) -> bool:
    """Whether what was planted would run: unpickles one file, looks for its proof and removes it."""
    pickle.loads((folder / PICKLES[0]).read_bytes())
    was_executed = proof.exists()
    proof.unlink(missing_ok=True)
    return was_executed
