"""One HTML page that answers a study's question: it opens from a file, and asks nothing of the network.

Nothing on it is executed but one script of ours, which sorts tables and which the page's own policy names by its hash; without
it everything can still be read.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from study.analysis.evidence import StudyEvidence
from study.analysis.findings import Comparison
from study.analysis.report.extras import ReportExtras
from study.analysis.report.material import Material
from study.analysis.report.parts import Section
from study.analysis.report.sections.answer import answer
from study.analysis.report.sections.calibration import calibration_section, saliency_section
from study.analysis.report.sections.confirmed import confirmed_section
from study.analysis.report.sections.confusion import confusion_section
from study.analysis.report.sections.cost import cost_section
from study.analysis.report.sections.curves import curves_section
from study.analysis.report.sections.data_card import data_section
from study.analysis.report.sections.depths import depths_section
from study.analysis.report.sections.effects import effects_section, interactions_section
from study.analysis.report.sections.numbers import numbers_section
from study.analysis.report.sections.parallel import parallel_section
from study.analysis.report.sections.plan import plan_section, reproduction_section
from study.analysis.report.sections.trials import history_section, leaderboard_section

REPORT_FILE = "report.html"
TEMPLATE_FOLDER = Path(__file__).with_name("template")
# In the order of the page, each with what is said where it is not known; "" where nobody would miss it.
SECTIONS: Sequence[tuple[Callable[[Material], Section | None], str]] = (
    (effects_section, "what single factors did: no effect could be estimated"),
    (interactions_section, "which factors depend on each other: no pair was looked at"),
    (depths_section, ""),
    (confirmed_section, "how the best recipes do on the test split: none was confirmed ([confirm] in the definition)"),
    (leaderboard_section, "a leaderboard: no trial has ended"),
    (parallel_section, "recipes side by side: fewer than two trials have a value"),
    (history_section, "how the search went: no trial has a value"),
    (curves_section, "learning curves: no trial has two epochs"),
    (confusion_section, "what is taken for what: no confusion matrix is kept"),
    (calibration_section, "how far confidence can be trusted: no calibration is kept"),
    (numbers_section, "how near the numbers come: the model or its photos are not here any more"),
    (saliency_section, "what the model looked at: no saliency maps are kept"),
    (cost_section, "cost: no time or size was recorded"),
    (data_section, "the photos: no data card is kept"),
    (plan_section, ""),
    (reproduction_section, ""),
)
OF_CLASSES = (confusion_section, calibration_section)  # these are missed on no page of numbers
OF_NUMBERS = (numbers_section,)


def write_report(
    evidence: Sequence[StudyEvidence], comparison: Comparison, folder: Path, extras: ReportExtras | None = None
) -> Path:
    """Writes report.html to `folder`, which is made where it is not there. The same input gives the same bytes.

    Args:
        evidence: of the studies that were compared, in the comparison's order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT_FILE
    path.write_text(render(Material(evidence, comparison, extras or ReportExtras())), encoding="utf-8")
    return path


def render(material: Material) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("study.analysis.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections, missing = _sections(material)
    script = (TEMPLATE_FOLDER / "sort.js").read_text(encoding="utf-8").strip()
    return environment.get_template("page.html").render(
        title=", ".join(material.comparison.studies) or "no study",
        answer=answer(material),
        sections=sections,
        missing=missing,
        address=_web_address(material.extras.mlflow_address),
        style=Markup((TEMPLATE_FOLDER / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _sections(material: Material) -> tuple[list[Section], list[str]]:
    """What there is to show, and what is said of the rest."""
    foreign = OF_CLASSES if material.is_of_numbers else OF_NUMBERS
    made = [(make(material), absence) for make, absence in SECTIONS if make not in foreign]
    return [one for one, _ in made if one is not None], [absence for one, absence in made if one is None and absence]


def _web_address(address: str | None) -> str | None:
    """An address that may be linked to; others (`javascript:…`, a database) are not."""
    return address if address and urlsplit(address).scheme in ("http", "https") else None
