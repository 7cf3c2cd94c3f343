"""The driver's copy of a study, and how much of it is recalled."""

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from study.search.front import Front
from study.search.mirror import Memory, Mirror


def _mirror_of(values: list[float | None], directions: tuple[str, ...] = ("maximize",)) -> Mirror:
    """A study of trials with these values; None still runs."""
    study = optuna.create_study(study_name="a", storage=InMemoryStorage(), directions=list(directions))  # type: ignore[arg-type]
    for value in values:
        trial = study.ask()
        if value is not None:
            study.tell(trial, [value] * len(directions))
    mirror = Mirror(study)
    mirror.load(study.trials)
    return mirror


def _numbers(mirror: Mirror, *states: TrialState) -> list[int]:
    return [trial.number for trial in mirror.trials(*states)]


def test_the_best_the_latest_and_those_that_run_are_recalled() -> None:
    mirror = _mirror_of([0.1, 0.9, None, 0.8, 0.2, 0.3, 0.4, 0.5])
    with mirror.recalling(Memory(num_best=2, num_latest=2)):
        assert _numbers(mirror) == [1, 2, 3, 6, 7]
        assert _numbers(mirror, TrialState.COMPLETE) == [1, 3, 6, 7]
    assert _numbers(mirror) == list(range(8))


def test_everything_is_recalled_while_it_fits() -> None:
    mirror = _mirror_of([0.1, 0.2, None, 0.4])
    with mirror.recalling(Memory(num_best=1, num_latest=2)):
        assert _numbers(mirror) == [0, 1, 2, 3]


def test_the_latest_are_those_that_ended_last() -> None:
    mirror = _mirror_of([None, 0.2, 0.3])
    mirror.set_trial_state_values(0, TrialState.COMPLETE, [0.1])
    with mirror.recalling(Memory(num_best=0, num_latest=1)):
        assert _numbers(mirror) == [0]


def test_with_two_objectives_the_front_is_recalled() -> None:
    mirror = _mirror_of([], ("maximize", "minimize"))
    study = optuna.load_study(study_name="a", storage=mirror)
    for values in [(0.5, 1.0), (0.9, 9.0), (0.4, 5.0), (0.3, 6.0), (0.2, 7.0)]:
        study.tell(study.ask(), values)
    with mirror.recalling(Memory(num_best=2, num_latest=1)):
        assert _numbers(mirror) == [0, 1, 4]


def test_a_trial_that_broke_a_constraint_is_not_among_the_best() -> None:
    mirror = _mirror_of([])
    study = optuna.load_study(study_name="a", storage=mirror)
    for value, excess in [(0.9, 1.0), (0.2, -1.0), (0.1, -1.0), (0.1, -1.0)]:
        trial = study.ask()
        trial.set_constraint("size", excess)
        study.tell(trial, value)
    with mirror.recalling(Memory(num_best=1, num_latest=1)):
        assert _numbers(mirror) == [1, 3]


def test_changing_the_copy_leaves_the_study_it_was_taken_from_as_it_was() -> None:
    study = optuna.create_study(study_name="a", storage=InMemoryStorage())
    study.ask().report(0.5, step=1)
    mirror = Mirror(study)
    mirror.load(study.get_trials(deepcopy=False))
    mirror.set_trial_intermediate_value(0, 2, 0.6)
    assert study.trials[0].intermediate_values == {1: 0.5}
    assert mirror.trial(0).intermediate_values == {1: 0.5, 2: 0.6}


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([(3.0,), (1.0,), (2.0,), (1.0,)], [1]),
        ([(1.0, 5.0), (2.0, 4.0), (2.0, 6.0), (0.5, 6.0)], [0, 1, 3]),
        ([(2.0, 2.0), (1.0, 1.0)], [1]),
    ],
)
def test_the_front_holds_what_nothing_beats(losses: list[tuple[float, ...]], expected: list[int]) -> None:
    front = Front[int]()
    for number, its_losses in enumerate(losses):
        front.add(its_losses, number)
    assert front.items == expected
