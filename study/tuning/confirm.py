"""After the search: the best recipes again with fresh seeds, on every fold; only then is the test split read.

The repetitions are trials of a study of their own, NAME.confirm, with its own parent run: recorded, retried and resumed as any
other. All recipes get the same seeds and folds, so that they can be compared in pairs; one that is shown to be worse than the
best is not repeated further (study/search/race.py), and comes after those that went the whole way.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from study.confirm_definition import Alteration, prefix_of
from study.definition import ConfirmDefinition, StudyDefinition
from study.errors import StudyError
from study.intervals import Place
from study.search.advisor import Advisor, Outcome, derive_seed, study_names
from study.search.first_points import first_points
from study.search.outcomes import Proposal, is_candidate
from study.search.race import REPETITION_KEYS, plan_of, recipe_of
from study.search.storages import Storage
from study.search_definition import PrunerDefinition, SamplerDefinition, SearchDefinition
from study.space import Choices, SearchSpace
from study.tracking.provenance import provenance_tags
from study.tracking.records import KEY_TAG, TrialRecord
from study.tracking.tracker import Tracker
from study.trial import TrialState
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
    """The best completed trials with different recipes, best first; seeds and folds make no recipe."""
    sign = -1 if definition.objective.is_maximized else 1
    candidates = sorted(filter(is_candidate, outcomes), key=lambda outcome: (sign * (outcome.value or 0.0), outcome.number))
    chosen: dict[str, Outcome] = {}
    for outcome in candidates:
        chosen.setdefault(repr(recipe_of(outcome.searched)), outcome)
    return list(chosen.values())[:top]


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
    if definition.confirm is None or definition.name + SUFFIX not in study_names(storage):
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
) -> list[Confirmed] | None:
    """Runs what is left of the repetitions; the recipes, best mean on validation first. None if it was interrupted.

    Args:
        outcomes: of the search.
        parent_run_id: the search's run.
    Raises:
        StudyError: if a store could not be written.
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
    is_resumed = repeated.definition.name in study_names(storage)
    run_id, advisor = _open(repeated, parent_run_id, tracker, storage)
    folder = prepared.settings.study_folder(repeated.definition.name)
    kept = KeptWeights(folder, definition.objective, NUM_KEPT_WEIGHTS, advisor.outcomes(), repeated.shared)
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
    except BaseException:
        with suppress(StudyError):  # the first error is the news; a store that is away cannot be told
            ledger.interrupt_open()
            tracker.end_study(run_id, TrialState.INTERRUPTED, {}, {})
        raise
    if not advisor.is_over:
        tracker.end_study(run_id, TrialState.INTERRUPTED, {}, {})
        return None
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
    if definition.name in study_names(storage):
        advisor = Advisor.resume(definition, storage)
        tracker.reopen(advisor.notes["run_id"])
        return advisor.notes["run_id"], advisor
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
    """The recipes, best mean on validation first.

    Args:
        definition: of the repetitions.
        altered_tests: copies of the test split that they were measured on as well.
    """
    metric = definition.objective.metric
    race = plan_of(definition, first_points(definition))
    for repetition in repetitions:
        race.add(repetition)
    metrics_of = {record.number: record.metrics for record in records}
    confirmed = []
    for outcome in chosen:
        recipe = recipe_of(outcome.searched)
        own = [one for one in repetitions if recipe_of(one.searched) == recipe and one.state is TrialState.COMPLETE]
        places = {one.number: (one.config.fold, one.config.seed or 0) for one in own}
        num_folds = definition.data.split.folds
        val = interval_of({places[one.number]: one.value for one in own if one.value is not None}, num_folds)
        told = {places[one.number]: metrics_of.get(one.number, {}) for one in own}
        test = _interval_on(None, told, metric, num_folds)
        altered = {name: found for name in altered_tests if (found := _interval_on(name, told, metric, num_folds)) is not None}
        if val is not None and test is not None:
            confirmed.append(Confirmed(outcome.number, recipe, val, test, altered))
    sign = -1 if definition.objective.is_maximized else 1
    # A beaten recipe's mean is of fewer rounds, which may have been the easier ones.
    return sorted(confirmed, key=lambda one: (race.is_beaten(one.searched), sign * one.val.mean))


def _interval_on(
    altered: Alteration | None, told: Mapping[Place, Mapping[str, float]], metric: str, num_folds: int
) -> Interval | None:
    """Of the metric on the test split, or on altered copies of it."""
    name = f"{prefix_of(altered)}_{metric}"
    return interval_of({place: metrics[name] for place, metrics in told.items() if name in metrics}, num_folds)


def _fresh_seeds(definition: StudyDefinition, confirm: ConfirmDefinition) -> tuple[int, ...]:
    return tuple(derive_seed(definition.search.seed, FIRST_FRESH_SEED + index) for index in range(confirm.seeds))
