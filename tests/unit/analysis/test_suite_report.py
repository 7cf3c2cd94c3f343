"""The page over a suite: every claim with its verdict, every study with its state, and nothing that can be executed."""

from pathlib import Path

from study.analysis.claims import Judgement, Verdict
from study.analysis.report.words import Quality
from study.analysis.suite import Begun, Suite, SuiteState, SuiteStudy
from study.analysis.suite_report import render, summary_of, write_suite_report
from study.claim_definition import Claim

QUALITY = Quality("balanced_accuracy", is_maximized=True)


def judgement(verdict: Verdict, text: str = "global does better", **claim: object) -> Judgement:
    said = Claim.model_validate({"text": text, "figure": 0.62, **claim})
    return Judgement("norm", said, QUALITY, verdict, "global 64.0 %", "difference +3.0 points (1.0 to 5.0)")


def suite(*judgements: Judgement, state: SuiteState = SuiteState.COMPLETE, folder: Path = Path("/w")) -> Suite:
    report = folder / "studies" / "norm" / "report" / "report.html"
    study = SuiteStudy(Path("norm.toml"), "norm", "Which?", state, Begun.RUN, "", ["global wins"], judgements, report, 61.0)
    return Suite("paper", folder, [study])


def test_each_claim_stands_beside_what_was_found_and_how_sure_that_is(tmp_path: Path) -> None:
    page = render(suite(judgement(Verdict.CONFIRMED)), tmp_path)
    for told in ("What the paper said", "62.0", "confirmed", "+3.0 points (1.0 to 5.0)"):
        assert told in page


def test_the_index_leads_to_each_studys_own_page_from_where_the_suites_stands(tmp_path: Path) -> None:
    page = render(suite(judgement(Verdict.CONFIRMED), folder=tmp_path), tmp_path / "studies" / "paper.suite" / "report")
    assert 'href="../../norm/report/report.html"' in page


def test_a_study_without_an_end_is_named_before_the_claims(tmp_path: Path) -> None:
    page = render(suite(judgement(Verdict.NOT_MEASURED), state=SuiteState.FAILED), tmp_path)
    assert "Not come to an end, and so not judged: norm." in page


def test_text_of_the_definitions_is_never_read_as_html(tmp_path: Path) -> None:
    page = render(suite(judgement(Verdict.CONFIRMED, text="<script>alert(1)</script>")), tmp_path)
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_verdicts_are_counted_in_words() -> None:
    counted = suite(judgement(Verdict.CONFIRMED), judgement(Verdict.CONFIRMED), judgement(Verdict.REFUTED))
    assert summary_of(counted) == "Of 3 claims 2 are confirmed and 1 is refuted."
    assert "make no claims" in summary_of(suite())


def test_claims_of_several_sources_each_say_whose_they_are(tmp_path: Path) -> None:
    page = render(suite(judgement(Verdict.CONFIRMED), judgement(Verdict.CONFIRMED, source="the generator")), tmp_path)
    assert "said by the generator" in page
    assert "said by the paper" in page


def test_the_page_is_written_to_a_folder_that_is_made(tmp_path: Path) -> None:
    path = write_suite_report(suite(), tmp_path / "new")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
