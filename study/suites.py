"""A folder of definitions as one suite: run one after the other, each answered, and one report over all."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from study.analysis.claims import judge
from study.analysis.evidence import StudyEvidence
from study.analysis.paired_studies import judged_in_pairs
from study.analysis.reading import CONFIRM_SUFFIX, read_study
from study.analysis.suite import Begun, Suite, SuiteState, SuiteStudy
from study.analysis.suite_report import write_suite_report
from study.answering import REPORT_FOLDER, answer
from study.definition import StudyDefinition, load_definition, parse_definition
from study.errors import DefinitionError, StudyError, in_one_line
from study.search.notes import is_begun, search_notes
from study.search.storages import is_fresh, open_storage
from study.settings import Settings
from study.tracking.mlflow_tracker import MlflowTracker
from study.trial import TrialState
from study.tuning.launch import StudyListener, StudyOutcome
from study.tuning.runner import Options, resume_study, run_study

SUITE_SUFFIX = ".suite"  # of the folder beside the studies' own; no definition's name may be taken for it by chance

Listening = Callable[[], AbstractContextManager[StudyListener]]


@dataclass(frozen=True)
class SuiteRun:
    """What a suite showed, and the page that says so."""

    suite: Suite
    report: Path


@dataclass(frozen=True)
class _Runner:
    """How every study of the suite is run."""

    settings: Settings
    listening: Listening
    options: Options

    def run(self, file: Path) -> SuiteStudy:
        """One definition; what goes wrong with it stays its own."""
        started_s = time.monotonic()
        unread = SuiteStudy(file, file.stem, "", SuiteState.FAILED)
        try:
            definition = load_definition(file)
        except StudyError as error:
            return replace(unread, reason=str(error))
        study = replace(unread, name=definition.name, question=definition.question)
        try:
            study = self._with_answer(self._run(definition, study), definition)
        except (StudyError, OSError) as error:
            study = replace(study, state=SuiteState.FAILED, reason=in_one_line(error), judgements=judge(definition, None))
        return replace(study, elapsed_s=time.monotonic() - started_s)

    def _run(self, definition: StudyDefinition, study: SuiteStudy) -> SuiteStudy:
        """Runs it, goes on with it, or takes it as it is."""
        if not self._is_stored(definition):
            with self.listening() as listener:
                outcome = run_study(definition, self.settings, listener, self.options)
            return _ended(replace(study, begun=Begun.RUN), outcome)
        self._require_same(definition)
        if self._is_complete(definition):
            return replace(study, state=SuiteState.COMPLETE, begun=Begun.TAKEN)
        with self.listening() as listener:
            outcome = resume_study(definition.name, self.settings, listener, self.options)
        return _ended(replace(study, begun=Begun.RESUMED), outcome)

    def _is_stored(self, definition: StudyDefinition) -> bool:
        return not is_fresh(self.settings.storage) and is_begun(definition.name, open_storage(self.settings.storage))

    def _require_same(self, definition: StudyDefinition) -> None:
        """A study that was begun from another definition answers another question."""
        notes = search_notes(definition.name, open_storage(self.settings.storage), "resume")
        if parse_definition(notes["definition"], Path(notes["file"])).digest != definition.digest:
            raise DefinitionError(
                f"a study that exists must have its file's definition to be taken as it is, but {definition.name!r} was begun "
                f"with another than {definition.file}. Change `name` in the file, or undo the change."
            )

    def _is_complete(self, definition: StudyDefinition) -> bool:
        """Whether MLflow says so of the search and, where the definition has one, of its confirmation."""
        states: dict[str, TrialState] = {}
        for record in MlflowTracker(self.settings.tracking_uri).studies():  # the newest first
            states.setdefault(record.name, record.state)
        needed = [definition.name, *([definition.name + CONFIRM_SUFFIX] if definition.confirm is not None else [])]
        return all(states.get(name) is TrialState.COMPLETE for name in needed)

    def _with_answer(self, study: SuiteStudy, definition: StudyDefinition) -> SuiteStudy:
        """With what the study showed; an interrupted one has shown nothing yet."""
        if study.state is not SuiteState.COMPLETE:
            return replace(study, judgements=judge(definition, None))
        answered = answer([definition.name], self.settings)
        judgements = judge(definition, answered.comparison)
        return replace(study, answer=answered.comparison.answer, judgements=judgements, report=answered.report)


def run_suite(
    folder: Path, settings: Settings, listening: Listening, options: Options, *, with_subfolders: bool = False
) -> SuiteRun:
    """Runs every definition of a folder that has not come to its end, in the order of their names; writes one report over all.

    A study that exists and is complete is taken as it is, an interrupted one is gone on with, and one that fails does not stop
    the others. Ctrl-C stops the suite; the same call goes on with it.

    Args:
        listening: makes who watches a study; called once for each.
    Raises:
        DefinitionError: if there is no definition in the folder, or two have one name.
        StudyError: if MLflow's store cannot be reached.
    """
    files = definitions_in(folder, with_subfolders=with_subfolders)
    _require_different_names(files)
    MlflowTracker(settings.tracking_uri).check()
    studies = _judged_in_pairs(list(_studies(files, _Runner(settings, listening, options))), settings)
    suite = Suite(folder.resolve().name, folder, studies)
    return SuiteRun(suite, write_suite_report(suite, settings.study_folder(suite.name + SUITE_SUFFIX) / REPORT_FOLDER))


def definitions_in(folder: Path, *, with_subfolders: bool = False) -> list[Path]:
    """The definitions of a folder in the order of their names.

    Raises:
        DefinitionError: if there is none.
    """
    files = sorted(folder.rglob("*.toml") if with_subfolders else folder.glob("*.toml"))
    if not files:
        fix = "Ask for --subfolders." if any(folder.rglob("*.toml")) else "Name another folder."
        raise DefinitionError(f"a folder of studies must hold definitions, but there is no *.toml in {folder}. {fix}")
    return files


def _studies(files: Sequence[Path], runner: _Runner) -> Iterator[SuiteStudy]:
    is_interrupted = False
    for file in files:
        if is_interrupted:
            yield _not_begun(file)
            continue
        study = runner.run(file)
        is_interrupted = study.state is SuiteState.INTERRUPTED
        yield study


def _judged_in_pairs(studies: Sequence[SuiteStudy], settings: Settings) -> list[SuiteStudy]:
    """The studies with the claims that set one against another, whichever of them ran first."""
    complete = {study.name for study in studies if study.state is SuiteState.COMPLETE}
    tracker = MlflowTracker(settings.tracking_uri)

    def evidence_of(name: str) -> StudyEvidence | None:
        return read_study(name, tracker, open_storage(settings.storage)) if name in complete else None

    return [
        replace(study, judgements=judged_in_pairs(study.name, study.judgements, evidence_of))
        if any(one.claim.against is not None for one in study.judgements)
        else study
        for study in studies
    ]


def _not_begun(file: Path) -> SuiteStudy:
    try:
        definition = load_definition(file)
    except StudyError as error:
        return SuiteStudy(file, file.stem, "", SuiteState.NOT_BEGUN, reason=str(error))
    judgements = judge(definition, None)
    return SuiteStudy(file, definition.name, definition.question, SuiteState.NOT_BEGUN, judgements=judgements)


def _ended(study: SuiteStudy, outcome: StudyOutcome) -> SuiteStudy:
    if outcome.is_interrupted and outcome.stop_reason is None:
        return replace(study, state=SuiteState.INTERRUPTED)
    if outcome.is_interrupted or outcome.winner is None:  # nobody ended it: trials that all failed alike did
        reason = outcome.stop_reason or "no trial completed; the runs in MLflow say why (tag study.error)"
        return replace(study, state=SuiteState.FAILED, reason=reason)
    return replace(study, state=SuiteState.COMPLETE)


def _require_different_names(files: Sequence[Path]) -> None:
    """Two definitions of one name would be one study; a file that cannot be read is told later, as its own failure."""
    file_of: dict[str, Path] = {}
    for file in files:
        try:
            name = load_definition(file).name
        except StudyError:
            continue
        if name in file_of:
            raise DefinitionError(
                f"definitions of a suite must have different names, but {file_of[name]} and {file} are both {name!r}. "
                f"Change `name` in one of them."
            )
        file_of[name] = file
