import base64
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from study.analysis.comparison import compare
from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.report.extras import ReportExtras, ToldNumbers
from study.analysis.report.page import OF_NUMBERS, SECTIONS, write_report
from study.analysis.report.sections.depths import depths_section
from study.analysis.report.words import significant
from study.definition import parse_definition
from study.trial import TrialState
from tests.analysis_examples import compared, extras_example, hostile_names, study_example, with_trials

VOID = {"meta", "link", "img", "br"}
MAX_BYTES = 5_000_000


class Page(HTMLParser):
    """What is on a page: tags with their attributes, ids, text; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    study = study_example()
    return write_report([study], compared(study), tmp_path_factory.mktemp("report"), extras_example()).read_text("utf-8")


@pytest.fixture(scope="module")
def page(written: str) -> Page:
    return Page(written)


def test_every_section_is_on_the_page_of_a_study_of_which_all_is_known(page: Page) -> None:
    of_others = [*OF_NUMBERS, depths_section]  # it predicts classes, at one freeze depth
    assert len(page.of("section")) == len(SECTIONS) - len(of_others) + 1  # and the answer
    assert "missing" not in page.values("id")


def test_nothing_is_asked_of_the_network(page: Page, written: str) -> None:
    for source in page.values("src"):
        assert source.startswith("data:image/png;base64,")
    links = [attributes["href"] for attributes in page.of("a")]
    assert [link for link in links if not link.startswith("#")] == ["http://localhost:5000/#/experiments/1/runs/run-parent"]
    assert [attributes["href"] for attributes in page.of("link")] == ["data:,"]
    assert not re.search(r"@import|url\((?!#)", written)


def test_the_only_script_is_the_one_that_the_pages_policy_names(page: Page, written: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", written, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_ids_are_unique_and_every_reference_inside_the_page_has_its_target(page: Page, written: str) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    asked = {link[1:] for link in page.values("href") if link.startswith("#")}
    asked |= set(re.findall(r"url\(#([^)]+)\)", written)) | set(page.values("aria-labelledby"))
    assert asked <= set(ids)


def test_every_figure_says_its_finding_and_has_its_numbers(page: Page) -> None:
    figures = page.of("figure")
    assert len(figures) > 15
    for figure in figures:
        assert figure["role"] == "figure"
        assert figure.get("aria-label") or figure.get("aria-labelledby")
    for svg in page.of("svg"):
        assert svg["role"] == "img"
        assert len(svg["aria-label"].split()) > 4
    assert sum(text == "The numbers" for text in page.text) == sum("class" in one for one in figures) - 1  # a heat table is one


def test_every_header_of_a_table_says_what_it_heads(page: Page) -> None:
    assert {one.get("scope") for one in page.of("th")} == {"row", "col"}
    assert len(page.of("caption")) == len(page.of("table"))


def test_headings_descend_step_by_step(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_same_study_gives_the_same_bytes(written: str, tmp_path: Path) -> None:
    study = study_example()
    again = write_report([study], compared(study), tmp_path / "new" / "folder", extras_example())
    assert again.name == "report.html"
    assert again.read_text("utf-8") == written


def test_colours_in_figures_are_the_pages_own(written: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", written, flags=re.DOTALL))
    used = set(re.findall(r"var\(--(\w+)\)", drawings))
    assert {"ink", "blue", "orange"} <= used
    assert used <= set(re.findall(r"--([\w-]+):", written))
    assert not re.search(r"#[0-9a-f]{6}", drawings.replace("&#", ""))


def test_an_exploratory_answer_warns_before_anything_else_is_told(tmp_path: Path) -> None:
    study = study_example()
    texts = {}
    for is_exploratory in (True, False):
        comparison = compared(study, is_exploratory=is_exploratory)
        texts[is_exploratory] = write_report([study], comparison, tmp_path).read_text("utf-8")
    warning = "narrower than they should be"
    assert texts[True].index(warning) < texts[True].index('id="effects"')
    assert texts[True].count('class="badge"') == 4
    assert warning not in texts[False]
    assert 'class="badge"' not in texts[False]


def test_the_recommended_recipe_comes_with_its_interval_and_its_cost(written: str) -> None:
    advice = written[written.index('class="advice"') : written.index('class="warning"')]
    assert re.search(r"\d+\.\d\s% \(\d+\.\d to \d+\.\d\)", advice)
    assert "5 repetitions" in advice
    assert "parameters" in advice


def test_what_is_not_known_is_said_in_a_line_and_drawn_nowhere(tmp_path: Path) -> None:
    study = replace(study_example(), repetitions=())
    page = Page(write_report([study], compared(study), tmp_path, ReportExtras()).read_text("utf-8"))
    told = " ".join(page.text)
    for absent in ("classes", "calibration", "saliency", "data", "confirmed"):
        assert absent not in page.values("id")
    for line in ("none was confirmed", "no confusion matrix is kept", "no calibration is kept", "no data card is kept"):
        assert line in told


NUMBERS = """
name = "prices"
[data]
table = "prices.csv"
images = "photo"
target = "price"
task = "number"
log_target = true
[objective]
metric = "mae"
[space]
head = { choices = ["replace", "append"] }
"""


def test_a_study_of_numbers_shows_told_against_true_and_misses_no_classes(tmp_path: Path) -> None:
    definition = parse_definition(NUMBERS, Path("/example/prices.toml"))
    study = replace(with_trials(study_example(), []), definition=definition)
    true = [10.0 * 1.07**place for place in range(100)]
    extras = ReportExtras(numbers=ToldNumbers("price", true, [1.2 * value for value in true], True, "the best trial's model"))
    page = Page(write_report([study], compare([study]), tmp_path, extras).read_text("utf-8"))
    told = " ".join(page.text)
    assert "numbers" in page.values("id")
    assert f"off by {significant(0.2 * sum(true) / 100)} (mean absolute error, 100 examples)" in told
    assert "true price" in told
    for absent in ("confusion matrix", "calibration is kept"):
        assert absent not in told
    nothing = Page(write_report([study], compare([study]), tmp_path, ReportExtras()).read_text("utf-8"))
    assert "how near the numbers come: the model or its photos" in " ".join(nothing.text)


def _with(change: Callable[[int, TrialEvidence], TrialEvidence]) -> StudyEvidence:
    study = study_example()
    return with_trials(study, [change(place, trial) for place, trial in enumerate(study.trials)])


def _ended(state: TrialState, value: float | None, curve: Sequence[float]) -> Callable[[int, TrialEvidence], TrialEvidence]:
    return lambda place, trial: replace(trial, state=state, value=value, curve=curve)


def _one_epoch(place: int, trial: TrialEvidence) -> TrialEvidence:
    return replace(trial, state=TrialState.COMPLETE, value=place / 99, curve=[place / 99])


BAD: dict[str, tuple[Callable[[], StudyEvidence], str]] = {
    "no trial": (lambda: with_trials(study_example(), []), "Nothing can be said: no trial has ended."),
    "one trial": (lambda: with_trials(study_example(), study_example().trials[:1]), "Best so far: trial 0"),
    "all pruned": (lambda: _with(_ended(TrialState.PRUNED, 0.4, [0.3, 0.4])), "24 pruned early"),
    "all failed": (lambda: _with(_ended(TrialState.FAIL, None, [])), "24 failed"),
    "constant": (lambda: _with(_ended(TrialState.COMPLETE, 0.5, [0.5] * 12)), "24 complete"),
    "one epoch": (lambda: _with(_one_epoch), "24 complete"),
    "not a number": (
        lambda: _with(lambda place, one: replace(one, value=math.nan, curve=[math.nan]) if place % 3 else one),
        "24 trials",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_study_that_went_wrong_has_a_page_that_says_so(name: str, tmp_path: Path) -> None:
    make, told = BAD[name]
    study = make()
    page = Page(write_report([study], compared(study), tmp_path, ReportExtras()).read_text("utf-8"))
    assert told in " ".join(page.text)
    assert not re.search(r"\bnan\b", " ".join(page.text))
    assert "plan" in page.values("id")


def test_names_from_outside_are_shown_and_never_run(tmp_path: Path) -> None:
    study = study_example()
    classes = tuple(hostile_names(40))
    question = "<script>alert('question')</script> & why?"
    study = replace(study, definition=study.definition.model_copy(update={"question": question, "text": "</pre><script>"}))
    comparison = replace(compared(study), answer=["<script>alert('answer')</script>"], warnings=["<b>bold</b>"])
    extras = replace(extras_example(classes), mlflow_address="javascript:alert(1)")
    text = write_report([study], comparison, tmp_path, extras).read_text("utf-8")
    page = Page(text)
    assert len(page.of("script")) == 1
    assert not [image for image in page.of("img") if not image["src"].startswith("data:image/png;base64,")]
    assert "javascript:" not in text
    assert "<b>" not in text
    shown = "".join(page.text)
    for name in (question, *classes):
        assert name in shown


def test_a_thousand_trials_and_forty_classes_stay_under_five_megabytes(tmp_path: Path) -> None:
    study = study_example(1000)
    path = write_report([study], compared(study), tmp_path, extras_example(tuple(hostile_names(40))))
    assert path.stat().st_size < MAX_BYTES


def test_pictures_beyond_the_budget_are_left_out_and_counted(tmp_path: Path) -> None:
    extras = extras_example()
    heavy = [replace(one, png=one.png + bytes(900_000)) for one in extras.saliency]
    study = study_example()
    path = write_report([study], compared(study), tmp_path, replace(extras, saliency=heavy))
    assert path.stat().st_size < MAX_BYTES
    assert "4 more are left out" in path.read_text("utf-8")


def test_of_several_studies_trials_are_named_with_their_study(tmp_path: Path) -> None:
    one = study_example()
    other = replace(one, name="boots", trials=[replace(trial, study="boots") for trial in one.trials], repetitions=())
    comparison = replace(compared(one), studies=["clothing", "boots"])
    page = Page(write_report([one, other], comparison, tmp_path).read_text("utf-8"))
    told = " ".join(page.text)
    assert "Every trial of boots" in told
    assert "Commands of boots" in told
    assert "2 studies" in told
