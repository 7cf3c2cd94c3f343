"""A folder of studies as it ended: what was said, what was found, how sure; then how each study ended."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from study.analysis.claims import Judgement, Verdict
from study.analysis.suite import Suite, SuiteState, SuiteStudy
from study.analysis.suite_report import figures_of, source_of, summary_of
from study.printing.console import Result, make_console
from study.progress import duration

VERDICT_STYLES = {
    Verdict.CONFIRMED: "green",
    Verdict.ANSWERED: "green",
    Verdict.REFUTED: "bold red",
    Verdict.NOT_SHOWN: "yellow",
    Verdict.NOT_MEASURED: "dim",
}
STATE_STYLES = {
    SuiteState.COMPLETE: "green",
    SuiteState.FAILED: "bold red",
    SuiteState.INTERRUPTED: "magenta",
    SuiteState.NOT_BEGUN: "dim",
}


def suite_of(suite: Suite, report: Path) -> Result:
    """The whole suite as plain data, and where its report is."""
    return {
        "suite": suite.name,
        "folder": str(suite.folder),
        "is_complete": suite.is_complete,
        "summary": summary_of(suite),
        "said_by": source_of(suite) or "claim",
        "claims": [_claim_of(judgement) for judgement in suite.judgements],
        "studies": [_study_of(study) for study in suite.studies],
        "report": str(report),
    }


def print_suite(result: Result) -> None:
    """The claims, the studies, and where the page is."""
    console = make_console()
    if result["claims"]:
        table = Table(title=result["summary"], title_justify="left", box=None, pad_edge=False)
        for name in (f"{result['said_by']} said", "we find", "verdict", "how sure"):
            table.add_column(name, no_wrap=name == "verdict")
        for claim in result["claims"]:
            verdict = Text(claim["verdict"], style=VERDICT_STYLES[Verdict(claim["verdict"])])
            said = f"{claim['study']}: {claim['text']}" + (f" ({claim['figures']})" if claim["figures"] else "")
            table.add_row(Text(said), Text(claim["found"]), verdict, Text(claim["sureness"]))
        console.print(table)
        console.print()
    table = Table(box=None, pad_edge=False)
    for name in ("study", "state", "time", "what it says"):
        table.add_column(name, no_wrap=name in ("study", "state"))
    for study in result["studies"]:
        state = Text(study["state"], style=STATE_STYLES[SuiteState(study["state"])])
        told = study["reason"] or next(iter(study["answer"]), "")
        table.add_row(Text(study["study"]), state, duration(study["elapsed_s"]), Text(told))
    console.print(table)
    console.print(f"report: {result['report']}", markup=False, soft_wrap=True)


def _claim_of(judgement: Judgement) -> Result:
    return {
        "study": judgement.study,
        **judgement.claim.model_dump(mode="json"),
        "figures": figures_of(judgement),
        "verdict": judgement.verdict.value,
        "found": judgement.found,
        "sureness": judgement.sureness,
    }


def _study_of(study: SuiteStudy) -> Result:
    return {
        "study": study.name,
        "file": str(study.file),
        "question": study.question,
        "reason": study.reason,
        "state": study.state.value,
        "begun": study.begun.value,
        "answer": list(study.answer),
        "report": None if study.report is None else str(study.report),
        "elapsed_s": round(study.elapsed_s, 1),
    }
