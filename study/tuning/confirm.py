"""After the search: the best recipes again with fresh seeds, on every fold; only then is the test split read.

The repetitions are trials of a study of their own, NAME.confirm, with its own parent run: recorded, retried and resumed as any
other. All recipes get the same seeds and folds, so that they can be compared in pairs; one that is shown to be worse than the
best is not repeated further (study/search/race.py), and comes after those that went the whole way.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from study.confirm_definition import Alteration, prefix_of
from study.definition import ConfirmDefinition, StudyDefinition
from study.errors import StudyError
from study.intervals import Place
from study.search.advisor import Advisor, Outcome, derive_seed
from study.search.failures import AnotherDriverError
from study.search.notes import is_begun, own_notes
from study.search.outcomes import Proposal
from study.search.ranking import key_of, ranked_outcomes
from study.search.recipes import recipe_of
from study.search.storages import Storage
from study.search_definition import PrunerDefinition, SamplerDefinition, SearchDefinition
from study.space import Choices, SearchSpace
from study.tracking.provenance import provenance_tags
from study.tracking.records import KEY_TAG, STOP_TAG, TrialRecord
from study.tracking.tracker import Tracker
from study.trial import REPETITION_KEYS, TrialState
from study.tuning.first_failures import HopelessError, why_hopeless
from study.tuning.kept_weights import KeptWeights
from study.tuning.launch import NUM_KEPT_WEIGHTS, Executor, StudyListener
from study.tuning.ledger import Ledger
from study.tuning.log_file import log_tags
from study.tuning.preparation import PreparedStudy
from study.tuning.repetitions import Confirmed, Interval, interval_of

SUFFIX = ".confirm"
CONFIRMS_TAG = "study.confirms"  # name of the study whose recipes are repeated; on a run, the number of the repeated trial
CONFIRMS_RUN_TAG = "study.confirms_run"  # run id of that trial
FIRST_FRESH_SEED = 1_000_000  # derived as if of this trial on: no search has so many
# At 0.05, no fewer than five rounds in which a recipe is the worse one end its race: five seeds on one fold are all trained.
RACE = PrunerDefinition.model_validate({"name": "wilcoxon", "p_threshold": 0.05})


def recipes_to_confirm(outcomes: Sequence[Outcome], definition: StudyDefinition, top: int) -> list[Outcome]:
    """The best trial of each of the best recipes, best first (study/search/ranking.py); seeds and folds make no recipe."""
    return [recipe.trials[0] for recipe in ranked_outcomes(outcomes, definition)[:top]]


def confirming_definition(definition: StudyDefinition, chosen: Sequence[Outcome]) -> StudyDefinition:
    """The study of the repetitions: its trials are the chosen recipes with each seed on each fold, in turn."""
    assert definition.confirm is not None, "the definition asks for it"
    seeds = _fresh_seeds(definition, definition.confirm)
    num_folds = definition.data.split.folds * definition.data.split.repeats
    folds = tuple(range(num_folds)) if num_folds > 1 else (definition.trial.fold,)
    points = tuple(
        {**recipe_of(outcome.searched), "seed": seed, "fold": fold} for seed in seeds for fold in folds for outcome in chosen
    )
    parameters = {key: parameter for key, parameter in definition.space.items() if key not in REPETITION_KEYS}
    parameters |= {"seed": Choices(choices=seeds), "fold": Choices(choices=folds)}
    search = SearchDefinition(sampler=SamplerDefinition(name="random"), pruner=RACE, trials=len(points), enqueue=points)
    return definition.model_copy(
        update={
            "name": definition.name + SUFFIX,
            "experiment": definition.experiment_name,
            "question": f"How sure is the answer of {definition.name}?",
            "objective": definition.objective.model_copy(update={"cost": None, "constraints": ()}),
            "space": SearchSpace(parameters=parameters),
            "search": search,
            "confirm": None,
        }
    )


def stored_repetitions(definition: StudyDefinition, outcomes: Sequence[Outcome], storage: Storage) -> Advisor | None:
    """The study of the repetitions as an earlier driver left it; None where none was begun.

    Args:
        outcomes: of the search.
    """
    if definition.confirm is None or not is_begun(definition.name + SUFFIX, storage):
        return None
    chosen = recipes_to_confirm(outcomes, definition, definition.confirm.top)
    return Advisor.resume(confirming_definition(definition, chosen), storage)


def confirm(
    prepared: PreparedStudy,
    outcomes: Sequence[Outcome],
    executor: Executor,
    tracker: Tracker,
    storage: Storage,
    listener: StudyListener,
    parent_run_id: str,
    guard: Callable[[], None] = lambda: None,
) -> list[Confirmed] | None:
    """Runs what is left of the repetitions; the recipes, best mean on validation first. None if it was interrupted.

    Args:
        outcomes: of the search.
        parent_run_id: the search's run.
        guard: raises when the study is not this process's any more.
    Raises:
        StudyError: if a store could not be written.
        HopelessError: if the first repetitions all failed, for one reason; the others wait for `study resume`.
    """
    definition = prepared.definition
    assert definition.confirm is not None, "the definition asks for it"
    chosen = recipes_to_confirm(outcomes, definition, definition.confirm.top)
    if not chosen:
        return []
    repeated = replace(
        prepared,
        definition=confirming_definition(definition, chosen),
        reads_test=True,
        altered_tests=definition.confirm.altered_tests,
    )
    is_resumed = is_begun(repeated.definition.name, storage)
    run_id, advisor = _open(repeated, parent_run_id, tracker, storage)
    advisor.heed(guard)
    folder = prepared.settings.study_folder(repeated.definition.name)
    kept = KeptWeights(folder, repeated.definition, NUM_KEPT_WEIGHTS, advisor.outcomes(), repeated.shared)
    ledger = Ledger(
        advisor,
        tracker,
        run_id,
        definition.objective,
        [listener, kept],
        is_resumed=is_resumed,
        gpus=executor.gpus,
        tags_of=lambda proposal: link_tags(proposal, chosen) | log_tags(folder, proposal.number),
    )
    listener.study_began(repeated, advisor.outcomes(), executor.num_concurrent)
    try:
        executor.for_study(repeated).run(ledger)
        ledger.interrupt_open()
    except AnotherDriverError:
        raise  # what runs is that driver's
    except BaseException:
        with suppress(StudyError):  # the first error is the news; a store that is away cannot be told, the other one can
            ledger.interrupt_open()
        with suppress(StudyError):
            tracker.end_study(run_id, TrialState.INTERRUPTED, {}, {})
        raise
    if not advisor.is_over:
        reason = why_hopeless(ledger.hopeless) if ledger.hopeless else None
        tracker.end_study(run_id, TrialState.INTERRUPTED, {}, {STOP_TAG: reason} if reason else {})
        if reason is not None:
            raise HopelessError(f"of the repetitions, {reason}")
        return None
    kept.settle()
    records = tracker.trials(run_id)
    confirmed = summarized(chosen, advisor.outcomes(), records, repeated.definition, repeated.altered_tests)
    tracker.end_study(run_id, TrialState.COMPLETE, summary_of(confirmed, definition), {})
    return confirmed


def link_tags(proposal: Proposal, chosen: Sequence[Outcome]) -> dict[str, str]:
    """Tags of a repetition's run: the trial that it repeats, and that trial's run."""
    recipe = recipe_of(proposal.searched)
    repeated = next((outcome for outcome in chosen if recipe_of(outcome.searched) == recipe), None)
    if repeated is None:
        return {}
    return {CONFIRMS_TAG: str(repeated.number)} | ({CONFIRMS_RUN_TAG: repeated.run_id} if repeated.run_id else {})


def summary_of(confirmed: Sequence[Confirmed], definition: StudyDefinition) -> dict[str, float]:
    """The parent run's figures: the first recipe's on the test split, and on altered copies of it."""
    if not confirmed:
        return {}
    figures = {prefix_of(): confirmed[0].test}
    figures |= {prefix_of(altered): test for altered, test in confirmed[0].altered.items()}
    told: dict[str, float] = {}
    for prefix, test in figures.items():
        name = f"{prefix}_{definition.objective.metric}"
        told |= {f"{name}_mean": test.mean, f"{name}_sd": test.sd, f"{name}_ci_low": test.low, f"{name}_ci_high": test.high}
    return told | {"confirmed_trial": float(confirmed[0].trial)}


def _open(repeated: PreparedStudy, parent_run_id: str, tracker: Tracker, storage: Storage) -> tuple[str, Advisor]:
    """The repetitions' study in both stores: new, or as an earlier driver left it.

    Its run is asked for with a key: one that a driver began who died before Optuna knew of the study is found again.
    """
    name = repeated.definition.name.removesuffix(SUFFIX)
    definition = repeated.definition
    if is_begun(definition.name, storage):
        run_id = own_notes(definition.name, storage)["run_id"]
        advisor = Advisor.resume(definition, storage)
        tracker.reopen(run_id)
        return run_id, advisor
    tags = provenance_tags(definition, repeated.data.digest) | {CONFIRMS_TAG: name, KEY_TAG: parent_run_id + SUFFIX}
    run_id = tracker.begin_study(definition.name, definition.experiment_name, tags, definition.text, definition.question)
    return run_id, Advisor.create(definition, storage, {"run_id": run_id, "confirms": name})


def summarized(
    chosen: Sequence[Outcome],
    repetitions: Sequence[Outcome],
    records: Sequence[TrialRecord],
    definition: StudyDefinition,
    altered_tests: Sequence[Alteration] = (),
) -> list[Confirmed]:
    """The recipes, the best first (study/search/ranking.py, as in the report), each with the mean of its own repetitions.

    Args:
        definition: of the repetitions.
        altered_tests: copies of the test split that they were measured on as well.
    """
    metric = definition.objective.metric
    metrics_of = {record.number: record.metrics for record in records}
    trial_with = {key_of(outcome.searched): outcome.number for outcome in chosen}
    confirmed = []
    for ranked in ranked_outcomes(repetitions, definition):
        own = sorted(ranked.trials, key=lambda one: one.number)
        places = {one.number: (one.config.fold, one.config.seed or 0) for one in own}
        num_folds = definition.data.split.folds
        val = interval_of({places[one.number]: one.value for one in own if one.value is not None}, num_folds)
        told = {places[one.number]: metrics_of.get(one.number, {}) for one in own}
        test = _interval_on(None, told, metric, num_folds)
        altered = {name: found for name in altered_tests if (found := _interval_on(name, told, metric, num_folds)) is not None}
        trial = trial_with.get(key_of(ranked.recipe))
        if trial is not None and val is not None and test is not None:
            confirmed.append(Confirmed(trial, ranked.recipe, val, test, altered))
    return confirmed


def _interval_on(
    altered: Alteration | None, told: Mapping[Place, Mapping[str, float]], metric: str, num_folds: int
) -> Interval | None:
    """Of the metric on the test split, or on altered copies of it."""
    name = f"{prefix_of(altered)}_{metric}"
    return interval_of({place: metrics[name] for place, metrics in told.items() if name in metrics}, num_folds)


def _fresh_seeds(definition: StudyDefinition, confirm: ConfirmDefinition) -> tuple[int, ...]:
    return tuple(derive_seed(definition.search.seed, FIRST_FRESH_SEED + index) for index in range(confirm.seeds))
