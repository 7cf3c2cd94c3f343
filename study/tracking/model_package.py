"""An exported model as a folder in MLflow's own format: our code, the two files, the versions that they need, and a card."""

import hashlib
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path

from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema

import study
from study.models.contract import ModelContract, read_contract
from study.models.timm_models import is_timm
from study.models.weight_files import digest_of
from study.tracking.connection import without_warnings

# What study/models/exported.py imports, and what MLflow's interface needs: pinned, so that the model answers as it did here.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow", "pydantic", "safetensors", "torch", "torchvision")
PACKAGED_MODEL = Path(__file__).with_name("packaged_model.py")
EXPORTED_PATH = "artifacts/model"  # of the exported folder, inside the registered model
CARD_FILE = "model_card.md"


def make_package(exported_folder: Path, temporary: Path, card: str) -> Path:
    """A folder in MLflow's format, in `temporary`; no file in it is a pickle.

    Args:
        exported_folder: as `save_exported` left it.
        card: what `CARD_FILE` says; "" leaves the file out.
    Raises:
        ModelError: if the exported folder holds no model.
    """
    contract = read_contract(exported_folder)
    package = temporary / "package"
    with without_warnings():
        from mlflow.pyfunc import save_model  # here, because its mere import warns

        save_model(
            path=str(package),
            python_model=str(PACKAGED_MODEL),
            mlflow_model=Model(signature=_signature(contract)),
            pip_requirements=requirements(contract.backbone),  # MLflow would load the model in a subprocess to find them out
            code_paths=[str(Path(study.__file__).parent)],
            uv_project_path=str(temporary),  # none there: MLflow would copy the uv.lock of whatever folder we run in
        )
    # Copied here, not as `artifacts=`: MLflow would take the folder for an address and stumble over a space or `#` in its name.
    shutil.copytree(exported_folder, package / EXPORTED_PATH)
    if card:
        (package / CARD_FILE).write_text(card, encoding="utf-8")
    return package


def sign_package(package: Path, model_id: str, run_id: str, location: str) -> None:
    """Completes MLmodel: which model it is, where its files lie; out goes what misleads (local paths, "cloudpickle")."""
    model = Model.load(str(package))
    model.model_id = model.model_uuid = model_id
    model.run_id = run_id
    model.artifact_path = location
    flavor = model.flavors["python_function"]
    flavor.pop("cloudpickle_version", None)
    flavor["model_code_path"] = PACKAGED_MODEL.name
    flavor["artifacts"] = {"model": {"path": EXPORTED_PATH, "uri": EXPORTED_PATH}}
    model.save(str(package / "MLmodel"))


def package_digest(package: Path) -> str:
    """SHA-256 of every file's path and content: a file more, less or other changes it."""
    hasher = hashlib.sha256()
    for path in sorted(package.rglob("*"), key=lambda path: path.relative_to(package).as_posix()):
        if path.is_file():
            hasher.update(f"{path.relative_to(package).as_posix()}\0{digest_of(path)}\0".encode())
    return hasher.hexdigest()


def requirements(backbone: str) -> list[str]:
    """Pinned requirements of a packaged model; `2.15.0+cu130` is on no public index, `2.15.0` is."""
    needed = (*REQUIREMENTS, *(("timm",) if is_timm(backbone) else ()))
    return [f"{package}=={installed_version(package).partition('+')[0]}" for package in needed]


def _signature(contract: ModelContract) -> ModelSignature:
    """Outputs only: an input schema would refuse what `PackagedModel.predict` takes beside tables (paths, bytes, arrays)."""
    if contract.task == "number":
        return ModelSignature(outputs=Schema([ColSpec("float", "value")]))
    return ModelSignature(outputs=Schema([ColSpec("string", "class"), ColSpec("float", "probability")]))
