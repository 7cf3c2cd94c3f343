"""One HTML page over several studies: what was said, what was found, how sure that is; and where each study's own page is.

It opens from a file and asks nothing of the network; nothing on it is executed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from study.analysis.claims import Judgement, Verdict
from study.analysis.report.words import counted, duration, joined, sentence
from study.analysis.suite import Suite, SuiteState, SuiteStudy

REPORT_FILE = "report.html"
TEMPLATES = ("study.analysis.report", "template")
STYLE = "style.css"
SUITE_STYLE = "suite.css"
SUITE_PAGE = "suite.html"


@dataclass(frozen=True)
class Row:
    """A line of the table of claims.

    Attributes:
        mark: class of the verdict's colour.
        figures: what was told in figures; "" where nothing was.
        said_by: "" where all claims are of one source, which then stands in the table's head.
    """

    study: str
    said_by: str
    said: str
    figures: str
    verdict: str
    mark: str
    found: str
    sureness: str


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    Attributes:
        address: of its own page, relative to this one; None where there is none.
    """

    name: str
    question: str
    state: str
    mark: str
    time: str
    address: str | None
    sentences: Sequence[str]


def write_suite_report(suite: Suite, folder: Path) -> Path:
    """Writes report.html to `folder`, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT_FILE
    path.write_text(render(suite, folder), encoding="utf-8")
    return path


def render(suite: Suite, folder: Path) -> str:
    """The page as text.

    Args:
        folder: where it will stand: links to the studies' own pages are relative to it.
    """
    loader = PackageLoader(*TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    styles = [loader.get_source(environment, name)[0] for name in (STYLE, SUITE_STYLE)]
    return environment.get_template(SUITE_PAGE).render(
        title=suite.name,
        source=source_of(suite),
        summary=summary_of(suite),
        caution=_caution(suite),
        rows=[_row(judgement, suite) for judgement in suite.judgements],
        entries=[_entry(study, folder) for study in suite.studies],
        style=Markup("\n".join(styles)),
    )


def source_of(suite: Suite) -> str:
    """Who made all claims: "the paper"; "" where there are several."""
    sources = {judgement.claim.source for judgement in suite.judgements}
    return sources.pop() if len(sources) == 1 else ""


def summary_of(suite: Suite) -> str:
    """`Of 7 claims 4 are confirmed, 1 is refuted and 2 are not shown.`"""
    if not suite.judgements:
        return "The definitions make no claims ([[claims]]): each study's own report says what it shows."
    told = [f"{number} {'is' if number == 1 else 'are'} {verdict.value}" for verdict, number in suite.counts.items()]
    return f"Of {counted(len(suite.judgements), 'claim')} {joined(told)}."


def figures_of(judgement: Judgement) -> str:
    """`62.0 % against 45.0 %`, as it was told; "" where it was told without figures."""
    claim = judgement.claim
    told = [judgement.quality.text(value) for value in (claim.figure, claim.figure_worse) if value is not None]
    return " against ".join(told)


def _caution(suite: Suite) -> str:
    """What is missing on the page; "" where nothing is."""
    missing = [study.name for study in suite.studies if study.state is not SuiteState.COMPLETE]
    return f"Not come to an end, and so not judged: {joined(missing)}." if missing else ""


def _row(judgement: Judgement, suite: Suite) -> Row:
    return Row(
        study=judgement.study,
        said_by="" if source_of(suite) else judgement.claim.source,
        said=sentence(judgement.claim.text),
        figures=figures_of(judgement),
        verdict=judgement.verdict.value,
        mark=_mark(judgement.verdict),
        found=sentence(judgement.found),
        sureness=judgement.sureness,
    )


def _mark(verdict: Verdict) -> str:
    return {Verdict.CONFIRMED: "good", Verdict.ANSWERED: "good", Verdict.REFUTED: "bad"}.get(verdict, "open")


def _entry(study: SuiteStudy, folder: Path) -> Entry:
    is_complete = study.state is SuiteState.COMPLETE
    sentences = list(map(sentence, study.answer)) or ([sentence(study.reason)] if study.reason else [])
    return Entry(
        name=study.name,
        question=study.question,
        state=study.state.value if not study.begun else f"{study.state.value}, {study.begun.value}",
        mark="good" if is_complete else "bad" if study.state is SuiteState.FAILED else "open",
        time=duration(study.elapsed_s) if study.elapsed_s else "",
        address=None if study.report is None else quote(os.path.relpath(study.report, folder).replace(os.sep, "/")),
        sentences=sentences,
    )
