"""What every advisor promises, whatever storage its study lives in."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import TrialState as OptunaState

from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError, SearchError
from study.search.advisor import Advisor
from study.search.algorithms import PRUNERS, SAMPLERS, build_pruner, is_fresh, open_storage
from study.search.record import Record
from study.search.rehearsal import check_search
from study.search.study_note import StudyNote
from study.search_definition import EXHAUSTIVE
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


@pytest.fixture(params=["memory", "journal", "sqlite", "postgresql"])
def make_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStorage]:
    """Opens the same storage again at each call, as a second driver would."""
    match request.param:
        case "memory":
            shared = InMemoryStorage()
            yield lambda: shared
            return
        case "journal":
            address = str(tmp_path / "study.journal")
        case "sqlite":
            address = f"sqlite:///{tmp_path}/study.db"
        case _:
            address = request.getfixturevalue("make_database")()
    opened: list[BaseStorage] = []

    def open_again() -> BaseStorage:
        opened.append(open_storage(address))
        return opened[-1]

    yield open_again
    for storage in opened:
        if isinstance(storage, RDBStorage):
            storage.remove_session()
            storage.engine.dispose()


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


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_a_study_that_is_taken_up_again_asks_for_what_it_would_have_asked_for(sampler: str, make_storage: MakeStorage) -> None:
    asked = []
    for num_drivers in (1, 4):
        named = TEXT.replace('"asked"', f'"asked-{num_drivers}"').replace("trials = 6", f'trials = 8\nsampler = "{sampler}"')
        described = definition(named)
        advisor = Advisor.create(described, make_storage(), {})
        for index in range(8):
            if num_drivers > 1 and index % 2:
                advisor = Advisor.resume(described, make_storage())
            run_one(advisor, [0.5])
        asked.append([outcome.searched for outcome in advisor.outcomes()])
    assert asked[0] == asked[1]


class Killed(BaseException):
    """The driver is gone."""


@pytest.mark.parametrize("num_writes", [0, 1])
def test_a_driver_killed_while_it_stores_a_trial_does_not_make_the_sampler_repeat_a_point(
    num_writes: int, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quasi-random sequence's place and the trial are two writes, with a kill between them or before the first."""
    described = definition(TEXT.replace("trials = 6", 'trials = 8\nsampler = "qmc"'))
    advisor = Advisor.create(described, make_storage(), {})
    for _ in range(3):
        run_one(advisor, [0.5])
    written = 0

    def until_killed(write: Callable[..., None]) -> Callable[..., None]:
        def write_or_die(*arguments: object) -> None:
            nonlocal written
            if written == num_writes:
                raise Killed
            written += 1
            write(*arguments)

        return write_or_die

    with monkeypatch.context() as patched:
        for name in ("begin", "note_study"):
            patched.setattr(Record, name, until_killed(getattr(Record, name)))
        with pytest.raises(Killed):
            advisor.ask()
    resumed = Advisor.resume(described, make_storage())
    while (proposal := resumed.ask()) is not None:
        resumed.tell(proposal.number, TrialState.COMPLETE, 0.5)
    rates = [outcome.config.optimizer.lr for outcome in resumed.outcomes()]
    assert (len(rates), len(set(rates))) == (8, 8)


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


def test_a_note_is_renewed_by_another_thread_while_trials_are_recorded(make_storage: MakeStorage) -> None:
    storage = make_storage()
    advisor = Advisor.create(definition(), storage, {})
    note, is_over = StudyNote("asked", storage, "beat"), threading.Event()

    def beat() -> None:
        for number in itertools.count():
            note.write(number)
            if is_over.wait(0.01):
                break
        note.leave()

    heart = threading.Thread(target=beat)
    heart.start()
    for _ in range(6):
        run_one(advisor, [0.1, 0.2, 0.3, 0.4])
    is_over.set()
    heart.join()
    assert StudyNote("asked", make_storage(), "beat").read() == note.read() is not None
    assert [trial.state for trial in optuna_trials(make_storage())] == [OptunaState.COMPLETE] * 6


def test_a_study_that_is_not_there_is_named_with_the_nearest(make_storage: MakeStorage) -> None:
    Advisor.create(definition(), make_storage(), {})
    with pytest.raises(SearchError, match="no 'askd'. Did you mean `asked`"):
        Advisor.resume(definition(TEXT.replace('"asked"', '"askd"')), make_storage())


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in EXHAUSTIVE])
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


def test_the_storage_holds_what_the_driver_holds(make_storage: MakeStorage) -> None:
    text = TEXT[: TEXT.index("pruner =")] + 'pruner = "successive_halving"\n'
    advisor = Advisor.create(definition(text), make_storage(), {})
    complete = advisor.ask()
    assert complete is not None
    advisor.report(complete.number, 1, 0.5)
    assert not advisor.should_prune(complete.number)  # the pruner notes the rung on the trial
    advisor.tell(complete.number, TrialState.COMPLETE, 0.8)
    pruned, interrupted, failed = (proposal for _ in range(3) if (proposal := advisor.ask()))
    advisor.attach_run(pruned.number, "run-1")
    advisor.report_all(pruned.number, {2: 0.2, 1: 0.1})
    assert advisor.should_prune(pruned.number)
    advisor.tell(pruned.number, TrialState.PRUNED, seconds=2.0)
    advisor.tell(interrupted.number, TrialState.INTERRUPTED)
    advisor.tell(failed.number, TrialState.FAIL)
    for stored, held in zip(optuna_trials(make_storage()), advisor._mirror.trials(), strict=True):
        assert (stored.number, stored.state, stored.values) == (held.number, held.state, held.values)
        assert stored.params == held.params
        assert stored.intermediate_values == held.intermediate_values
        assert stored.user_attrs == held.user_attrs
        shared = {key for key in held.system_attrs if "relative_params" in key}
        assert stored.system_attrs.keys() == held.system_attrs.keys() - shared
    again = Advisor.resume(definition(text), make_storage())
    assert again.outcomes() == advisor.outcomes()


def test_a_second_driver_of_the_same_study_is_noticed(make_storage: MakeStorage) -> None:
    first = Advisor.create(definition(), make_storage(), {})
    second = Advisor.resume(definition(), make_storage())
    assert first.ask() is not None
    with pytest.raises(SearchError, match="its trial 0 is number 1 in the storage: another driver"):
        second.ask()


def test_points_are_tried_first_and_keys_that_they_leave_out_are_sampled(make_storage: MakeStorage) -> None:
    points = (
        '[[search.enqueue]]\nbackbone = "resnet18"\noptimizer.lr = 0.01\n'
        '[[search.enqueue]]\n"optimizer.name" = "sgd"\n"optimizer.momentum" = 0.9\n'
    )
    advisor = Advisor.create(definition(TEXT + points), make_storage(), {})
    first = advisor.ask()
    assert first is not None
    assert (first.config.backbone, first.config.optimizer.lr) == ("resnet18", 0.01)
    assert "batch_size" in first.searched
    second = Advisor.resume(definition(TEXT + points), make_storage())
    waiting, proposal = second.ask(), second.ask()
    assert waiting is not None
    assert waiting.config == first.config
    assert proposal is not None
    assert (proposal.config.optimizer.name, proposal.config.optimizer.momentum) == ("sgd", 0.9)


def test_several_interrupted_trials_come_back_before_new_ones(make_storage: MakeStorage) -> None:
    advisor = Advisor.create(definition(), make_storage(), {})
    numbers = [proposal.number for _ in range(3) if (proposal := advisor.ask())]
    for number in numbers:
        advisor.tell(number, TrialState.INTERRUPTED)
    proposals = [advisor.ask() for _ in range(4)]
    assert [proposal.number for proposal in proposals if proposal is not None] == [0, 1, 2, 3]


def test_a_recipe_that_completed_is_proposed_as_a_repetition(make_storage: MakeStorage) -> None:
    text = TEXT[: TEXT.index("[space]")] + '[space]\nbackbone = { choices = ["alexnet"] }\n' + TEXT[TEXT.index("[search]") :]
    advisor = Advisor.create(definition(text), make_storage(), {})
    first, beside = advisor.ask(), advisor.ask()
    assert first is not None
    assert beside is not None
    assert first.repeats is beside.repeats is None  # nothing is known yet
    advisor.tell(beside.number, TrialState.FAIL)
    advisor.tell(first.number, TrialState.COMPLETE, 0.7)
    again = Advisor.resume(definition(text), make_storage()).ask()
    assert again is not None
    assert again.repeats == 0


def test_two_objectives_have_a_front_and_are_not_pruned(make_storage: MakeStorage) -> None:
    text = TEXT[: TEXT.index("pruner =")] + '[objective]\ncost = "parameters_m"\n'
    advisor = Advisor.create(definition(text), make_storage(), {})
    for value, millions in [(0.8, 60.0), (0.7, 11.0), (0.6, 20.0), (0.9, 60.0)]:
        proposal = advisor.ask()
        assert proposal is not None
        advisor.report(proposal.number, 1, value)
        assert not advisor.should_prune(proposal.number)
        assert not advisor.can_prune_at(1)
        advisor.tell(proposal.number, TrialState.COMPLETE, value, costs={"parameters_m": millions})
    front = Advisor.resume(definition(text), make_storage()).pareto_front()
    assert [(outcome.number, outcome.value, outcome.costs["parameters_m"]) for outcome in front] == [
        (3, 0.9, 60.0),
        (1, 0.7, 11.0),
    ]


def test_a_trial_that_breaks_a_constraint_is_infeasible_and_never_the_best(make_storage: MakeStorage) -> None:
    text = TEXT + '[objective]\nconstraints = ["parameters_m <= 30"]\n[search.stop]\ntarget = 0.85\n'
    advisor = Advisor.create(definition(text), make_storage(), {})
    for value, millions in [(0.9, 60.0), (0.8, 30.0)]:
        proposal = advisor.ask()
        assert proposal is not None
        advisor.tell(proposal.number, TrialState.COMPLETE, value, costs={"parameters_m": millions})
    resumed = Advisor.resume(definition(text), make_storage())
    assert [outcome.is_feasible for outcome in resumed.outcomes()] == [False, True]
    assert [outcome.number for outcome in resumed.pareto_front()] == [1]
    assert resumed.stop_reason is None
    assert optuna_trials(make_storage())[0].constraints == {"parameters_m <= 30": 30.0}


def test_a_completed_trial_without_its_cost_is_refused(make_storage: MakeStorage) -> None:
    text = TEXT + '[objective]\nconstraints = ["latency_ms <= 20"]\n'
    advisor = Advisor.create(definition(text), make_storage(), {})
    proposal = advisor.ask()
    assert proposal is not None
    with pytest.raises(SearchError, match="trial 0 came without latency_ms"):
        advisor.tell(proposal.number, TrialState.COMPLETE, 0.5)


STOPS = {
    "target": ("target = 0.7", "reached the target 0.7"),
    "patience": ("patience = 2", "none of the last 2 trials was better"),
    "hours": ("hours = 2", "it has run for 2 hours"),
    "gpu_hours": ("gpu_hours = 1.5", "have used 1.5 GPU-hours"),
}


@pytest.mark.parametrize(("rule", "reason"), STOPS.values(), ids=STOPS.keys())
def test_a_stop_rule_ends_the_search_and_says_so_also_after_a_restart(
    rule: str, reason: str, make_storage: MakeStorage
) -> None:
    clock_s = [0.0]
    text = f"{TEXT}[search.stop]\n{rule}\n"
    advisor = Advisor.create(definition(text), make_storage(), {}, clock=lambda: clock_s[0])
    for value in (0.6, 0.7, 0.5):
        assert advisor.stop_reason is None or rule == "target = 0.7"
        if (proposal := advisor.ask()) is not None:
            clock_s[0] += 2400.0
            advisor.tell(proposal.number, TrialState.COMPLETE, value, seconds=1800.0)
        clock_s[0] += 5000.0 if proposal is None else 0.0
    if rule == "patience = 2":
        proposal = advisor.ask()
        assert proposal is not None
        advisor.tell(proposal.number, TrialState.COMPLETE, 0.7)  # as good is no better
    assert reason in str(advisor.stop_reason)
    assert advisor.ask() is None
    clock_s[0] += 1e6  # a night without a driver does not count
    assert reason in str(Advisor.resume(definition(text), make_storage(), clock=lambda: clock_s[0]).stop_reason)


def test_time_without_a_driver_does_not_count(make_storage: MakeStorage) -> None:
    clock_s = [0.0]
    text = f"{TEXT}[search.stop]\nhours = 2\n"
    advisor = Advisor.create(definition(text), make_storage(), {}, clock=lambda: clock_s[0])
    proposal = advisor.ask()
    assert proposal is not None
    clock_s[0] = 3600.0
    advisor.tell(proposal.number, TrialState.COMPLETE, 0.5)
    clock_s[0] = 1e6
    resumed = Advisor.resume(definition(text), make_storage(), clock=lambda: clock_s[0])
    assert resumed.stop_reason is None
    clock_s[0] += 3601.0
    assert resumed.stop_reason is not None


def test_the_best_of_an_earlier_study_are_tried_first_also_after_it_is_gone(make_storage: MakeStorage) -> None:
    storage = make_storage()
    earlier = Advisor.create(definition(TEXT.replace('"asked"', '"earlier"')), storage, {})
    for number in range(6):
        run_one(earlier, [0.1 * number])
    best = [outcome.searched for outcome in reversed(earlier.outcomes()[-3:])]
    text = TEXT.replace("trials = 6", 'trials = 6\nwarm_start = ["earlier"]')
    advisor = Advisor.create(definition(text), storage, {})
    first = advisor.ask()
    assert first is not None
    assert first.searched == best[0]
    optuna.delete_study(study_name="earlier", storage=storage)
    resumed = Advisor.resume(definition(text), storage)
    proposals = [proposal for _ in range(6) if (proposal := resumed.ask())]
    assert [proposal.searched for proposal in proposals[:3]] == best
    assert [proposal.number for proposal in proposals] == list(range(6))  # they count as trials: they are trained


def test_a_study_to_start_from_that_is_not_there_is_named_with_the_nearest(make_storage: MakeStorage) -> None:
    Advisor.create(definition(TEXT.replace('"asked"', '"instrument-type"')), make_storage(), {})
    text = TEXT.replace("trials = 6", 'trials = 6\nwarm_start = ["instrument-typ"]')
    with pytest.raises(SearchError, match="names 'instrument-typ'. Did you mean `instrument-type`"):
        Advisor.create(definition(text), make_storage(), {})


@pytest.mark.parametrize("sampler", ["cmaes", "gp", "qmc", "nsgaii", "tpe"])
def test_a_conditional_space_is_searched_quietly_and_goes_on_after_a_restart(
    sampler: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("optuna"), "propagate", True)
    storage = InMemoryStorage()
    text = TEXT.replace("trials = 6", f'trials = 16\nsampler = "{sampler}"')
    advisor = Advisor.create(definition(text), storage, {})
    pending = [proposal.number for _ in range(3) if (proposal := advisor.ask())]
    for number in range(10):
        run_one(advisor, [0.01 * number])
    for number in pending:
        advisor.tell(number, TrialState.COMPLETE, 0.5)
    resumed = Advisor.resume(definition(text), storage)
    run_one(resumed, [0.9])
    for outcome in resumed.outcomes():
        assert ("optimizer.momentum" in outcome.searched) == (outcome.config.optimizer.name == "sgd")
    assert not caplog.records


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsgaii", "qmc"])
def test_a_sampler_that_can_searches_two_objectives(sampler: str) -> None:
    text = TEXT[: TEXT.index("pruner =")].replace("trials = 6", f'trials = 12\nsampler = "{sampler}"')
    advisor = Advisor.create(definition(text + '[objective]\ncost = "flops_g"\n'), InMemoryStorage(), {})
    for number in range(12):
        proposal = advisor.ask()
        assert proposal is not None
        advisor.tell(proposal.number, TrialState.COMPLETE, 0.1 * number, costs={"flops_g": float(number % 5)})
    assert len(advisor.pareto_front()) >= 1


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ('{ name = "tpe", n_startup = 3 }', "`search.sampler.n_startup` is no option of tpe. Did you mean `n_startup_trials`"),
        ('{ name = "random", seed = 3 }', "`search.sampler.seed` is no option of random. It has none"),
        ('{ name = "tpe", n_startup_trials = "many" }', "tpe is refused: "),
        ('{ name = "nsgaii", population_size = 1 }', "nsgaii is refused: .*population_size"),
        ('{ name = "qmc", qmc_type = "sobel" }', "qmc is refused: .*sobel"),
    ],
)
def test_a_sampler_that_cannot_be_built_is_one_line(sampler: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        check_search(definition(TEXT.replace("trials = 6", f"trials = 6\nsampler = {sampler}")), InMemoryStorage())
    assert "\n" not in str(caught.value)


def test_a_sampler_of_one_objective_is_refused_for_two() -> None:
    text = TEXT[: TEXT.index("pruner =")].replace("trials = 6", 'trials = 6\nsampler = "cmaes"')
    with pytest.raises(DefinitionError, match="cmaes is refused: .*multi-objective"):
        check_search(definition(text + '[objective]\ncost = "flops_g"\n'), InMemoryStorage())
