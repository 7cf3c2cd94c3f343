"""What every advisor promises, whatever storage its study lives in."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState as OptunaState

from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError, SearchError
from study.search.advisor import Advisor
from study.search.algorithms import PRUNERS, SAMPLERS, build_pruner, is_fresh, open_storage
from study.trial import TrialState

TEXT = """
name = "asked"
data.generated = "instruments"
trial.epochs = 4
[space]
backbone = { choices = ["alexnet", "resnet18"] }
"optimizer.name" = { choices = ["adam", "sgd"] }
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
batch_size = { low = 16, high = 64, step = 16 }
[search]
trials = 6
pruner = { name = "median", n_startup_trials = 1, n_warmup_steps = 0 }
"""
MakeStorage = Callable[[], BaseStorage]


@pytest.fixture(params=["memory", "journal", "sqlite"])
def make_storage(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStorage:
    """Opens the same storage again at each call, as a second driver would."""
    if request.param == "memory":
        storage = InMemoryStorage()
        return lambda: storage
    address = str(tmp_path / "study.journal") if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"
    return lambda: open_storage(address)


def definition(text: str = TEXT) -> StudyDefinition:
    return parse_definition(text, Path("/somewhere/asked.toml"))


def run_one(advisor: Advisor, values: list[float]) -> int:
    """Asks for a trial and reports `values`; completes it with the best."""
    proposal = advisor.ask()
    assert proposal is not None
    for epoch, value in enumerate(values, start=1):
        advisor.report(proposal.number, epoch, value)
    advisor.tell(proposal.number, TrialState.COMPLETE, max(values))
    return proposal.number


def optuna_trials(storage: BaseStorage) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="asked", storage=storage).get_trials()


def test_it_proposes_as_many_trials_as_the_definition_has_and_then_none(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    assert [run_one(advisor, [0.5]) for _ in range(6)] == list(range(6))
    assert advisor.ask() is None


def test_a_proposal_is_a_whole_recipe_with_its_own_seed(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    first, second = advisor.ask(), advisor.ask()
    assert first is not None
    assert second is not None
    assert first.config.epochs == 4
    assert first.config.optimizer.lr == first.searched["optimizer.lr"]
    assert first.config.batch_size in (16, 32, 48, 64)
    assert first.config.seed is not None
    assert first.config.seed != second.config.seed


def test_a_conditional_key_is_searched_only_where_its_condition_holds(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(TEXT.replace("trials = 6", "trials = 12")), make_storage(), {})
    proposals = [proposal for _ in range(12) if (proposal := advisor.ask())]
    assert {proposal.config.optimizer.name for proposal in proposals} == {"adam", "sgd"}
    for proposal in proposals:
        assert ("optimizer.momentum" in proposal.searched) == (proposal.config.optimizer.name == "sgd")


def test_the_same_definition_proposes_the_same_first_trials() -> None:
    first, second = (Advisor.create(definition(), InMemoryStorage(), {}) for _ in range(2))
    assert [first.ask() for _ in range(4)] == [second.ask() for _ in range(4)]


def test_a_pruned_trial_is_told_pruned_with_its_last_value(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    run_one(advisor, [0.8, 0.9, 0.9, 0.9])
    proposal = advisor.ask()
    assert proposal is not None
    advisor.report(proposal.number, 1, 0.2)
    advisor.report(proposal.number, 2, 0.1)
    assert advisor.should_prune(proposal.number)
    advisor.tell(proposal.number, TrialState.PRUNED)
    pruned = optuna_trials(make_storage())[proposal.number]
    assert pruned.state is OptunaState.PRUNED
    assert pruned.value == 0.1
    assert pruned.intermediate_values == {1: 0.2, 2: 0.1}


def test_a_better_trial_is_not_pruned(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    run_one(advisor, [0.5, 0.5, 0.5, 0.5])
    proposal = advisor.ask()
    assert proposal is not None
    advisor.report(proposal.number, 1, 0.7)
    assert not advisor.should_prune(proposal.number)


def test_an_epoch_reported_again_keeps_its_first_value(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    proposal = advisor.ask()
    assert proposal is not None
    advisor.report(proposal.number, 1, 0.4)
    advisor.report(proposal.number, 1, 0.6)
    assert optuna_trials(make_storage())[0].intermediate_values == {1: 0.4}


def test_an_interrupted_trial_is_proposed_first_with_its_number_recipe_and_run(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    run_one(advisor, [0.5])
    interrupted = advisor.ask()
    assert interrupted is not None
    advisor.attach_run(interrupted.number, "run-1")
    advisor.report(interrupted.number, 1, 0.4)
    advisor.tell(interrupted.number, TrialState.INTERRUPTED)
    resumed = Advisor.resume(definition(), make_storage())
    again = resumed.ask()
    assert again is not None
    assert (again.number, again.config, again.run_id) == (interrupted.number, interrupted.config, "run-1")


def test_a_trial_that_a_dead_driver_left_running_is_proposed_again(make_storage: MakeStorage) -> None:
    left = Advisor.create(definition(), make_storage(), {}).ask()
    assert left is not None
    again = Advisor.resume(definition(), make_storage()).ask()
    assert again is not None
    assert (again.number, again.config) == (left.number, left.config)
    assert len(optuna_trials(make_storage())) == 1


def test_a_resumed_sampler_does_not_repeat_its_first_draws(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    for _ in range(3):
        run_one(advisor, [0.5])
    resumed = Advisor.resume(definition(), make_storage())
    for _ in range(3):
        run_one(resumed, [0.5])
    rates = [outcome.config.optimizer.lr for outcome in resumed.outcomes()]
    assert len(set(rates)) == 6


def test_outcomes_say_how_each_trial_ended(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    run_one(advisor, [0.5, 0.6])
    failed = advisor.ask()
    assert failed is not None
    advisor.tell(failed.number, TrialState.FAIL)
    advisor.ask()  # still running: no outcome yet
    complete, fail = Advisor.resume(definition(), make_storage()).outcomes()
    assert (complete.state, complete.value, complete.num_epochs) == (TrialState.COMPLETE, 0.6, 2)
    assert (fail.state, fail.value, fail.config) == (TrialState.FAIL, None, failed.config)


def test_a_grid_is_visited_once_each_and_conditions_hold(make_storage: MakeStorage) -> None:
    text = TEXT.replace("trials = 6", 'sampler = "grid"').replace("low = 1e-4, high = 1e-1, log = true", "choices = [0.1]")
    text = text.replace("low = 0.8, high = 0.99,", "choices = [0.8, 0.9],").replace("high = 64", "high = 32")
    advisor = Advisor.create(definition(text), make_storage(), {})
    recipes = []
    while (proposal := advisor.ask()) is not None:
        recipes.append(tuple(sorted(proposal.searched.items())))
        advisor.tell(proposal.number, TrialState.COMPLETE, 0.5)
    assert len(recipes) == len(set(recipes)) == 2 * 2 * (1 + 2)


def test_a_name_in_use_is_refused(make_storage: MakeStorage) -> None:
    Advisor.create(definition(), make_storage(), {})
    with pytest.raises(SearchError, match="a study's name must be new, but 'asked' exists"):
        Advisor.create(definition(), make_storage(), {})


def test_a_study_that_is_not_there_is_named_with_the_nearest(make_storage: MakeStorage) -> None:
    Advisor.create(definition(), make_storage(), {})
    with pytest.raises(SearchError, match="no 'askd'. Did you mean `asked`"):
        Advisor.resume(definition(TEXT.replace('"asked"', '"askd"')), make_storage())


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
def test_every_sampler_proposes_after_its_random_start(sampler: str) -> None:
    text = TEXT.replace("trials = 6", f'trials = 13\nsampler = "{sampler}"')
    advisor = Advisor.create(definition(text), InMemoryStorage(), {})
    assert [run_one(advisor, [0.1 * number]) for number in range(13)] == list(range(13))


OPTIONS = {"percentile": "percentile = 25.0", "patient": "patience = 2", "threshold": "lower = 0.1"}


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_judges(pruner: str) -> None:
    text = TEXT[: TEXT.index("pruner =")] + f'[search.pruner]\nname = "{pruner}"\n{OPTIONS.get(pruner, "")}\n'
    advisor = Advisor.create(definition(text), InMemoryStorage(), {})
    run_one(advisor, [0.8, 0.9, 0.9, 0.9])
    proposal = advisor.ask()
    assert proposal is not None
    advisor.report(proposal.number, 1, 0.5)
    assert advisor.should_prune(proposal.number) in (True, False)


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ('name = "medan"', "which is no pruner. Did you mean `median`"),
        ('name = "median"\nn_warmup = 2', "`search.pruner.n_warmup` is no option of median. Did you mean `n_warmup_steps`"),
        ('name = "percentile"', "refused: .*percentile"),
        ('name = "hyperband"\nreduction_factor = 0', "refused"),
    ],
)
def test_a_pruner_that_cannot_be_built_is_one_line(pruner: str, message: str) -> None:
    text = TEXT[: TEXT.index("pruner =")] + f"[search.pruner]\n{pruner}\n"
    with pytest.raises(DefinitionError, match=message):
        build_pruner(definition(text).search.pruner, epochs=4)


def test_a_database_that_is_not_there_is_one_line_without_its_password() -> None:
    with pytest.raises(SearchError) as caught:
        open_storage("sqlite:////nowhere/at/all/study.db?secret")
    assert "STUDY_STORAGE must be a reachable database" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_asking_whether_a_storage_is_fresh_makes_no_file(tmp_path: Path) -> None:
    assert is_fresh(str(tmp_path / "study.journal"))
    assert is_fresh(f"sqlite:///{tmp_path}/study.db")
    assert not list(tmp_path.iterdir())
