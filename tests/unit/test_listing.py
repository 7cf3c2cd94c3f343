"""What `study show` prints of a study's trials."""

import pytest

from study.printing.filters import TrialFilter
from study.printing.listing import print_studies, print_trials, studies_of, trials_of
from study.tracking.tracker import MemoryTracker
from study.trial import TrialConfig, TrialState


def test_a_part_of_the_trials_is_called_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = MemoryTracker()
    study = tracker.begin_study("pets", "pets", {}, "", "")
    for number in range(3):
        run_id = tracker.begin_trial(study, number, TrialConfig(seed=number), {})
        tracker.end_trial(run_id, TrialState.COMPLETE, [], {"best_val_balanced_accuracy": number / 10}, {})
    part = trials_of("pets", tracker, TrialFilter(limit=2))
    assert ([one["trial"] for one in part["trials"]], part["num_trials"]) == ([2, 1], 3)
    print_trials(part)
    assert "2 of 3 trials, the best first" in capsys.readouterr().out
    print_trials(trials_of("pets", tracker))
    assert "of 3 trials" not in capsys.readouterr().out


def test_where_a_server_shows_the_trials_as_a_table_its_address_can_be_copied_whole(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = MemoryTracker()
    tracker.begin_study("pets", "pets", {}, "", "")
    address = f"http://mlflow.example.org:5000/#/experiments/1/runs?viewStateShareKey={'0' * 100}"
    print_trials(trials_of("pets", tracker) | {"mlflow_table": address})
    assert f"its trials as a table: {address}\n" in capsys.readouterr().out


def test_what_people_and_libraries_wrote_is_listed_as_they_wrote_it(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = MemoryTracker()
    study = tracker.begin_study("pets", "instruments [baroque] [/x] :cat:", {}, "", "")
    run_id = tracker.begin_trial(study, 0, TrialConfig(), {})
    tracker.end_trial(run_id, TrialState.FAIL, [], {}, {"study.error": "ValueError: no key [/x] in [weights] :cat:"})
    print_studies(studies_of(tracker.studies()))
    assert "instruments [baroque] [/x] :cat:" in capsys.readouterr().out
    print_trials(trials_of("pets", tracker))
    assert "ValueError: no key [/x] in [weights] :cat:" in capsys.readouterr().out
