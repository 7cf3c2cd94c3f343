"""Does a registered model answer? Asked in a process of its own, as a user's: MLflow loads the package, with our code in it."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from study.errors import RegistryError
from study.models.contract import read_contract
from study.tracking.model_package import EXPORTED_PATH, package_digest
from study.tracking.registry import PACKAGE_TAG, ModelVersion, Registry

TIMEOUT_S = 300  # torch, torchvision and MLflow are imported: 10 s on an idle machine, and the largest networks built
TOLERANCE = 1e-4  # float32 probabilities of 1,000 classes sum to 1 within 1e-6

# The photo is noise of the model's own size. Warnings are MLflow's, addressed to who writes its calls.
PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import mlflow.pyfunc
folder, size_px, num_views = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pixels = np.random.default_rng(0).integers(0, 256, (num_views, size_px, size_px, 3), dtype=np.uint8)
answer = mlflow.pyfunc.load_model(folder).predict(tuple(pixels) if num_views > 1 else pixels[0])
print(json.dumps(answer.to_dict("records")))
"""


def smoke_predict(registry: Registry, version: ModelVersion) -> dict[str, Any]:
    """The version's answer to a photo of the right size, loaded as any user of MLflow loads it.

    Before anything of it runs, every file is held against what was registered.

    Raises:
        RegistryError: if its files were changed, it does not load, or its answer is none.
    """
    with TemporaryDirectory() as temporary:
        package = registry.download_package(version, Path(temporary))
        _require_unchanged(version, package)
        contract = read_contract(package / EXPORTED_PATH)
        answer = _asked(version, package, contract.image_size, contract.num_views)
    if not _is_whole(answer, contract.classes):
        raise RegistryError(
            f"a model must answer before it is promoted, its probabilities summing to 1, but {version.uri} answers "
            f"{json.dumps(answer)[:200]}. Do not use it."
        )
    return answer


def _is_whole(answer: Mapping[str, Any], classes: Sequence[str]) -> bool:
    """A finite number, or probabilities of all classes that sum to 1."""
    names = [f"probability.{name}" for name in classes] or ["value"]
    numbers = [float(answer.get(name, math.nan)) for name in names]
    return all(map(math.isfinite, numbers)) and (not classes or abs(sum(numbers) - 1) <= TOLERANCE)


def _require_unchanged(version: ModelVersion, package: Path) -> None:
    registered, found = version.tags.get(PACKAGE_TAG), package_digest(package)
    if registered not in (None, found):  # versions of older studies have none
        raise RegistryError(
            f"{version.uri} must hold the files that were registered, of digest {str(registered)[:16]}…, but they have "
            f"{found[:16]}…: one was added or changed, and none was run. Register the model anew, and find out who writes "
            f"to the artifact store."
        )


def _asked(version: ModelVersion, package: Path, size_px: int, num_views: int) -> dict[str, Any]:
    # -P: the present folder is no place to import from.
    command = [sys.executable, "-P", "-c", PROGRAM, str(package), str(size_px), str(num_views)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    try:
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise RegistryError(f"a model must answer within {TIMEOUT_S} s, but {version.uri} does not. Try it by hand.") from None
    if finished.returncode != 0:
        reason = (finished.stderr.strip().splitlines() or ["no reason given"])[-1][:300]
        raise RegistryError(f"a model must load before it is promoted, but {version.uri} does not: {reason}. Do not use it.")
    answer: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])[0]
    return answer
