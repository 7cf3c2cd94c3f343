"""Distributed hyperparameter studies for transfer learning on images. In Python: `study.load`, `study.load_model`."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.opened import load as load
    from study.predict import load_model as load_model

__version__ = "0.1.0"

# What `import study` offers, and where it lies: imported when it is first asked for, since torch alone takes two seconds.
LAZY: Mapping[str, str] = {"load": "study.opened", "load_model": "study.predict"}


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    return getattr(import_module(LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})
