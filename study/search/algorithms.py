"""Optuna's samplers, pruners and storages, by the names that a definition and the settings give them."""

from study.search.pruners import PRUNERS, build_pruner
from study.search.samplers import SAMPLERS, build_sampler
from study.search.storages import Storage, is_fresh, open_storage

__all__ = ["PRUNERS", "SAMPLERS", "Storage", "build_pruner", "build_sampler", "is_fresh", "open_storage"]
