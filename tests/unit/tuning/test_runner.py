"""A study before its first trial: who looks sees what its driver does, and who ends it leaves nothing half done."""

import signal
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from study.definition import ConfirmDefinition, StudyDefinition, parse_definition
from study.errors import DataError
from study.progress import PlainLines
from study.search.advisor import Advisor
from study.search.storages import open_storage
from study.settings import Settings, settings_from
from study.tracking.memory_tracker import MemoryTracker
from study.tuning import runner
from study.tuning.driver import End, driving, read_driver
from study.tuning.first_failures import HopelessError
from study.tuning.launch import StudyOutcome
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.runner import Options, resume_study, run_study
from study.tuning.status import StudyState, StudyStatus, statuses

TEXT = """
name = "pets"
data = { generated = "instruments", target = "view", num_photos = 60, image_size = 32 }
trial = { backbone = "squeezenet1_0", weights = "none" }
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }
[search]
trials = 2
"""
IN_PROCESS = Options(in_process=True)


class Interrupting(PlainLines):
    """Looks around when the first photos are packed, and ends the driver.

    Attributes:
        seen: what `study status` says then.
    """

    def __init__(self, settings: Settings, end: Callable[[], None]) -> None:
        self.said = StringIO()
        super().__init__(Console(file=self.said, width=300))
        self._settings, self._end = settings, end
        self.seen: list[StudyStatus] = []

    def packing(self, num_done: int, num_photos: int) -> None:
        """The first photos are there."""
        self.seen += statuses(self._settings, with_ended=False)
        self._end()


def press_ctrl_c() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_from({"STUDY_CACHE": str(tmp_path / "cache")}, tmp_path)


@pytest.fixture
def definition(tmp_path: Path) -> StudyDefinition:
    return parse_definition(TEXT, tmp_path / "pets.toml")


@pytest.mark.parametrize("end", [press_ctrl_c, lambda: signal.raise_signal(signal.SIGTERM)], ids=["ctrl-c", "study stop"])
def test_a_study_is_known_while_its_photos_are_packed_and_ended_then_leaves_nothing(
    end: Callable[[], None], definition: StudyDefinition, settings: Settings, tmp_path: Path
) -> None:
    listener = Interrupting(settings, end)
    with pytest.raises(KeyboardInterrupt):
        run_study(definition, settings, listener, IN_PROCESS)
    [seen] = listener.seen
    assert (seen.name, seen.state) == ("pets", StudyState.PREPARING)
    assert seen.driver is not None
    assert seen.driver.doing == "packing photos, 32 of 60"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    done = list[int]()
    prepare(definition, settings, lambda num_done, num_photos: done.append(num_done))
    assert done == [32, 60], "packed photos stay packed"
    assert "the same command goes on" in listener.said.getvalue()


def test_a_mistake_that_is_found_while_a_study_is_prepared_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    nowhere = parse_definition(
        TEXT.replace('generated = "instruments", target = "view", num_photos = 60', 'folder = "nowhere"'),
        tmp_path / "pets.toml",
    )
    with pytest.raises(DataError, match="nowhere"):
        run_study(nowhere, settings, PlainLines(Console(file=StringIO())), IN_PROCESS)
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_is_resumed_is_driven_while_its_photos_are_packed_again(
    definition: StudyDefinition, settings: Settings, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, tracking_uri=sqlite_uri)
    notes = {"definition": definition.text, "file": str(definition.file), "run_id": "run", "data_digest": "digest"}
    Advisor.create(definition, open_storage(settings.storage), notes).ask()
    folder = settings.study_folder("pets")
    with driving("pets", folder):
        pass
    listener = Interrupting(settings, press_ctrl_c)

    def pack(definition: StudyDefinition, settings: Settings, on_progress: Callable[[int, int], None]) -> PreparedStudy:
        on_progress(1, 2)
        raise AssertionError("the listener ends it")

    monkeypatch.setattr(runner, "prepare", pack)
    with pytest.raises(KeyboardInterrupt):
        resume_study("pets", settings, listener, IN_PROCESS)
    [seen] = listener.seen
    assert (seen.name, seen.state) == ("pets", StudyState.PREPARING)
    record = read_driver(folder)
    assert record is not None
    assert record.end is End.INTERRUPTED


@pytest.mark.parametrize("hopeless", [None, "the first 4 trials failed alike"])
def test_repetitions_that_did_not_end_leave_a_reason_only_where_they_gave_one(
    hopeless: str | None, definition: StudyDefinition, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop rule of the search is no reason: who pressed Ctrl-C during [confirm] wants the whole suite to end."""

    def end_early(*anything: object) -> None:
        if hopeless is not None:
            raise HopelessError(hopeless)

    monkeypatch.setattr(runner, "confirm", end_early)
    definition = definition.model_copy(update={"confirm": ConfirmDefinition()})
    unused = cast(Any, None)
    prepared = PreparedStudy(definition, settings, unused, {})
    winner = cast(Any, "a winner")
    searched = StudyOutcome(prepared, [], winner, "", 1.0, is_interrupted=False, stop_reason="no better trial in 20")
    confirmed = runner._confirmed(
        searched, "run", unused, MemoryTracker(), unused, unused, cast(Any, SimpleNamespace(require_held=None))
    )
    assert (confirmed.is_interrupted, confirmed.stop_reason) == (True, hopeless)
    assert confirmed.winner == winner
