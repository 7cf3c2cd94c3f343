"""What a study left in both stores, read back."""

from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage

from study.analysis.comparison import compare
from study.analysis.reading import read_studies, read_study
from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError
from study.search.advisor import Advisor
from study.tracking.tracker import MemoryTracker
from study.trial import Failure, Measurement, TrialState
from study.tuning.confirm import CONFIRMS_TAG, confirming_definition, recipes_to_confirm
from study.tuning.ledger import Ledger

EPOCHS = 3


def definition(name: str = "read", experiment: str = "ablations") -> StudyDefinition:
    return parse_definition(
        f"""
name = "{name}"
experiment = "{experiment}"
data.generated = "instruments"
trial.epochs = {EPOCHS}
[space]
head = {{ choices = ["replace", "append"] }}
imbalance = {{ choices = ["none", "weighted_loss"] }}
[search]
sampler = "random"
trials = 6
pruner = {{ name = "median", n_startup_trials = 1, n_warmup_steps = 0 }}
[confirm]
top = 2
seeds = 2
""",
        Path("/somewhere/read.toml"),
    )


class Stores:
    """Both stores, and studies run in them by the real ledger."""

    def __init__(self) -> None:
        self.tracker, self.storage = MemoryTracker(), InMemoryStorage()

    def run(self, study: StudyDefinition, curves: Sequence[Sequence[float]], **notes: str) -> tuple[str, Advisor]:
        """Runs a study whose next trial measures the next of `curves`; an empty one fails."""
        tags = {CONFIRMS_TAG: notes["confirms"]} if "confirms" in notes else {}
        run_id = self.tracker.begin_study(study.name, study.experiment_name, tags, study.text, "")
        kept = {"definition": study.text, "file": str(study.file), "run_id": run_id, "data_digest": "digest", **notes}
        advisor = Advisor.create(study, self.storage, kept)
        ledger = Ledger(advisor, self.tracker, run_id, study.objective)
        for curve in curves:
            trial = ledger.begin()
            if trial is None:
                break
            for epoch, value in enumerate(curve, start=1):
                if ledger.record(trial.number, [_measurement(epoch, value)], is_in_mlflow=False):
                    break
            ledger.finish(trial.number, None if curve else Failure(reason="the loss became nan"), {"parameters_m": 11.2})
        return run_id, advisor

    def confirm(self, study: StudyDefinition, advisor: Advisor, num_run: int | None = None) -> None:
        """All repetitions, or the first ones only."""
        repeated = confirming_definition(study, recipes_to_confirm(advisor.outcomes(), study, 2))
        curves = [[0.6, 0.7, 0.8 + number / 100] for number in range(4)]
        run_id, _ = self.run(repeated, curves[:num_run], confirms=study.name)
        if num_run is None:
            self.tracker.end_study(run_id, TrialState.COMPLETE, {}, {})


def _measurement(epoch: int, value: float) -> Measurement:
    names = ("val_loss", "val_balanced_accuracy", *(["test_balanced_accuracy"] if epoch == EPOCHS else []))
    return Measurement(
        epoch=epoch,
        metrics=dict.fromkeys(names, value),
        timestamp_ms=1_000 * epoch,
        is_last=epoch == EPOCHS,
    )


@pytest.fixture
def stores() -> Stores:
    return Stores()


def test_trials_come_with_whole_curves_states_costs_and_metrics(stores: Stores) -> None:
    run_id, _ = stores.run(definition(), [[0.5, 0.9, 0.7], [0.1], []])
    found = read_study("read", stores.tracker, stores.storage)
    assert (found.name, found.run_id, found.data_digest) == ("read", run_id, "digest")
    whole, pruned, failed = (trial for trial in found.trials if trial.repeats is None)
    assert (whole.state, whole.value, list(whole.curve)) == (TrialState.COMPLETE, 0.9, [0.5, 0.9, 0.7])
    assert (pruned.state, pruned.value, list(pruned.curve)) == (TrialState.PRUNED, 0.1, [0.1])
    assert (failed.state, failed.value, list(failed.curve)) == (TrialState.FAIL, None, [])
    assert whole.costs == {"parameters_m": 11.2}
    assert whole.seconds is not None
    assert whole.metrics["best_val_balanced_accuracy"] == 0.9
    assert whole.recipe.items() >= {"optimizer.name": "adam", **whole.searched}.items()
    assert whole.recipe["seed"] is not None


def test_a_told_result_names_the_trial_that_it_repeats(stores: Stores) -> None:
    stores.run(definition(), [[0.5, 0.6, 0.7 + number / 100] for number in range(6)])
    found = read_study("read", stores.tracker, stores.storage).trials
    told = [trial for trial in found if trial.repeats is not None]
    assert told, "six draws of four recipes repeat one"
    by_number = {trial.number: trial for trial in found}
    for trial in told:
        assert trial.repeats is not None
        assert by_number[trial.repeats].searched == trial.searched
        assert by_number[trial.repeats].value == trial.value
        assert not trial.curve


def test_reading_changes_nothing_though_a_trial_is_running(stores: Stores) -> None:
    _, advisor = stores.run(definition(), [[0.5, 0.6, 0.7]])
    assert advisor.ask() is not None
    assert len(read_study("read", stores.tracker, stores.storage).trials) == 1
    states = [trial.state.name for trial in optuna.load_study(study_name="read", storage=stores.storage).trials]
    assert states == ["COMPLETE", "RUNNING"]


def test_repetitions_come_with_the_study_and_answer_for_it(stores: Stores) -> None:
    study = definition()
    _, advisor = stores.run(study, [[0.5, 0.6, 0.7 + number / 100] for number in range(6)])
    stores.confirm(study, advisor)
    found = read_study("read", stores.tracker, stores.storage)
    assert len(found.repetitions) == 4
    assert not found.is_confirming
    assert {trial.study for trial in found.repetitions} == {"read.confirm"}
    assert [trial.metrics["test_balanced_accuracy"] for trial in found.repetitions] == pytest.approx([0.8, 0.81, 0.82, 0.83])
    comparison = compare([found])
    assert [one.role for one in comparison.confirmed] in (["winner", "runner-up"], ["winner", "baseline"])
    assert comparison.recommended in {one.trial for one in comparison.confirmed}
    assert comparison.recommended_study == "read"
    assert comparison.answer[0].startswith("Use trial ")


def test_a_study_whose_repetitions_are_not_all_in_says_so(stores: Stores) -> None:
    study = definition()
    _, advisor = stores.run(study, [[0.5, 0.6, 0.7 + number / 100] for number in range(6)])
    stores.confirm(study, advisor, num_run=3)
    found = read_study("read", stores.tracker, stores.storage)
    assert len(found.repetitions) == 3
    assert found.is_confirming


def test_an_experiment_stands_for_all_studies_in_it_without_their_repetitions(stores: Stores) -> None:
    first = definition("first")
    _, advisor = stores.run(first, [[0.5, 0.6, 0.7], [0.5, 0.6, 0.8]])
    stores.confirm(first, advisor)
    stores.run(definition("second"), [[0.5, 0.6, 0.7]])
    stores.run(definition("elsewhere", "other"), [[0.5, 0.6, 0.7]])
    found = read_studies(["ablations", "second"], stores.tracker, stores.storage)
    assert [study.name for study in found] == ["first", "second"]


def test_the_name_of_the_repetitions_stands_for_their_study(stores: Stores) -> None:
    stores.run(definition(), [[0.5, 0.6, 0.7]])
    assert [study.name for study in read_studies(["read.confirm"], stores.tracker, stores.storage)] == ["read"]


def test_a_name_that_is_neither_is_answered_by_the_nearest(stores: Stores) -> None:
    stores.run(definition(), [[0.5, 0.6, 0.7]])
    with pytest.raises(DefinitionError, match=r"'raed' is neither\. Did you mean `read`\?"):
        read_studies(["raed"], stores.tracker, stores.storage)
    with pytest.raises(DefinitionError, match=r"There is none yet"):
        read_studies(["read"], MemoryTracker(), InMemoryStorage())
