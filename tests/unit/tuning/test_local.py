"""A study in the present process, interrupted."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from optuna.storages import InMemoryStorage

from study.definition import parse_definition
from study.search.advisor import Advisor
from study.settings import settings_from
from study.tracking.memory_tracker import MemoryTracker
from study.trial import TrialState
from study.tuning.launch import Executor
from study.tuning.ledger import Ledger
from study.tuning.local import InProcessExecutor
from study.tuning.preparation import prepare
from study.tuning.trial_task import StepReport
from study.tuning.worker import TrialSession

TEXT = """
name = "local"
data = { generated = "instruments", target = "view", num_photos = 60, image_size = 32 }
trial = { backbone = "squeezenet1_0", weights = "none", epochs = 3, batch_size = 16 }
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }
[search]
trials = 2
pruner = { name = "median", n_startup_trials = 1, n_warmup_steps = 0 }
"""


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_ctrl_c_in_a_trial_ends_its_threads_and_leaves_it_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = parse_definition(TEXT, tmp_path / "local.toml")
    prepared = prepare(definition, settings_from({"STUDY_CACHE": str(tmp_path / "cache")}, tmp_path))
    sampled: list[threading.Thread] = []
    earlier = threading.enumerate()  # another test's may be among them
    step = TrialSession.step

    def step_and_interrupt(session: TrialSession) -> StepReport:
        assert not step(session).is_last
        sampled.extend(one for one in threading.enumerate() if one.name == "system metrics" and one not in earlier)
        raise KeyboardInterrupt

    monkeypatch.setattr(TrialSession, "step", step_and_interrupt)
    tracker = MemoryTracker()
    parent = tracker.begin_study("local", "local", {}, "", "")
    advisor = Advisor.create(definition, InMemoryStorage(), {})
    ledger = Ledger(advisor, tracker, parent, definition.objective)
    executor: Executor = InProcessExecutor(prepared)
    executor.run(ledger)
    assert len(sampled) == 1
    deadline_s = time.monotonic() + 10
    while sampled[0].is_alive():
        assert time.monotonic() < deadline_s, "the trial's thread outlives it"
        time.sleep(0.01)
    assert [record.state for record in tracker.trials(parent)] == [TrialState.INTERRUPTED]
    assert ledger.is_interrupted
