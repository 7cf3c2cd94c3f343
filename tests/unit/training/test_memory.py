"""What a trial says of the memory that it took. On a real GPU: tests/gpu/test_memory.py."""

import pytest
import torch

from study.data.study_data import StudyData
from study.training import training
from study.training.memory import count_peak_anew
from tests.trainings import CPU, begin, config_of


def test_a_trials_peak_is_counted_from_where_its_training_begins(
    striped_data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[torch.device] = []
    monkeypatch.setattr(training, "count_peak_anew", counted.append)
    for _ in range(2):
        begin(striped_data, config_of())
    assert counted == [CPU, CPU]


def test_only_a_gpu_counts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", counted.append)
    gpu = torch.device("cuda", 1)
    for device in (CPU, gpu):
        count_peak_anew(device)
    assert counted == [gpu]
