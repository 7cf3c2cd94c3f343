"""The report as a reader sees it: in a real browser, without a network, light and dark, on a desk and in a hand."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from study.analysis.comparison import compare
from study.analysis.reading import read_study
from study.analysis.report.gathering import gather_extras
from study.analysis.report.page import write_report
from study.search.storages import open_storage
from study.settings import settings_from
from study.tracking.mlflow_tracker import MlflowTracker
from tests.analysis_examples import compared, extras_example, hostile_names, study_example

from .conftest import Workplace

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ),
    *("--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1300,1000"),
)
DARK = "--blink-settings=preferredColorScheme=0"
WIDTHS_PX = (1280, 390)
# The page in frames of both widths, looked at from outside: its own policy lets no script but its own run.
PROBE = """<!DOCTYPE html><meta charset="utf-8"><pre id="seen"></pre>
{frames}
<script>
function look(frame) {{
  const page = frame.contentDocument, root = page.documentElement;
  page.querySelectorAll("details").forEach((one) => one.open = true);
  const sorted = page.querySelector("table[data-sortable]");
  const place = [...sorted.tHead.rows[0].cells].findIndex((one) => one.textContent === "trial");
  sorted.tHead.rows[0].cells[place].querySelector("button").click();
  const seen = (one) => one.getClientRects().length > 0;
  const size = (one) => {{
    const box = one.getBoundingClientRect();
    return [one.id || one.outerHTML.slice(0, 80), box.width, box.height];
  }};
  return {{
    figures: [...page.querySelectorAll("figure")].map(size),
    drawings: [...page.querySelectorAll("svg")].filter(seen).map(size),
    images: [...page.images].map((one) => one.naturalWidth),
    dots: [...page.querySelectorAll(".dot")].map((one) => one.getBoundingClientRect().left),
    tables: [...page.querySelectorAll("table")].filter(seen).length,
    requests: frame.contentWindow.performance.getEntriesByType("resource").map((one) => one.name),
    scroll: root.scrollWidth, width: root.clientWidth,
    ground: getComputedStyle(page.body).backgroundColor,
    trials: [...sorted.tBodies[0].rows].map((row) => Number(row.cells[place].textContent)),
    scripts: page.scripts.length,
  }};
}}
addEventListener("load", () => {{
  document.getElementById("seen").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
}});
</script>"""


@dataclass(frozen=True)
class Sight:
    """What a browser made of a page: by width, and what it complained of."""

    frames: Mapping[int, Any]
    complaints: list[str]


def look_at(report: Path, folder: Path, *flags: str) -> Sight:
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px;border:0" src="{report.as_uri()}"></iframe>' for width in WIDTHS_PX
    )
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(frames=frames), encoding="utf-8")
    assert BROWSER is not None
    command = [BROWSER, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", probe.as_uri()]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = re.search(r'<pre id="seen">(.*?)</pre>', finished.stdout, flags=re.DOTALL)
    assert seen, finished.stderr
    frames_seen = json.loads(unescape(seen[1]))
    return Sight(dict(zip(WIDTHS_PX, frames_seen, strict=True)), re.findall(r".*CONSOLE.*", finished.stderr))


@needs_browser
@pytest.mark.parametrize(
    ("theme", "flags", "ground"), [("light", (), "rgb(255, 255, 255)"), ("dark", (DARK,), "rgb(18, 24, 31)")]
)
def test_a_browser_shows_every_figure_and_asks_for_nothing(
    theme: str, flags: tuple[str, ...], ground: str, tmp_path: Path
) -> None:
    study = study_example()
    report = write_report([study], compared(study), tmp_path, extras_example(tuple(hostile_names(12))))
    sight = look_at(report, tmp_path, *flags)
    assert sight.complaints == []
    for width, seen in sight.frames.items():
        assert len(seen["figures"]) > 15
        for name, wide, high in seen["figures"] + seen["drawings"]:
            assert wide > 100, name
            assert high > 60, name
        assert len(seen["drawings"]) == 5
        assert min(seen["images"]) > 0
        assert len({round(left) for left in seen["dots"]}) > 5
        assert seen["tables"] > 15
        assert seen["requests"] == []
        assert seen["width"] == width
        assert seen["scroll"] <= width
        assert seen["ground"] == ground
        assert seen["trials"] == sorted(seen["trials"])
        assert len(seen["trials"]) == 20
        assert seen["scripts"] == 1


STUDY = """
name = "tiny"
question = "Is a real study's report whole?"
[data]
generated = "instruments"
target = "view"
num_photos = 60
image_size = 32
[trial]
backbone = "squeezenet1_0"
weights = "none"
freeze_depth = 1.0
epochs = 3
batch_size = 16
[space]
head = { choices = ["replace", "append"] }
"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }
[search]
trials = 6
sampler = "random"
pruner = { name = "median", n_startup_trials = 2, n_warmup_steps = 0 }
[confirm]
top = 2
seeds = 2
"""


@needs_browser
def test_the_report_of_a_study_that_was_run_is_whole(workplace: Workplace, tmp_path: Path) -> None:
    workplace.run("run", workplace.write(STUDY), "--in-process")
    settings = settings_from(workplace.environment, workplace.folder)
    tracker = MlflowTracker(settings.tracking_uri)
    evidence = [read_study("tiny", tracker, open_storage(settings.storage))]
    comparison = compare(evidence)
    extras = gather_extras(evidence, comparison, tracker, settings)
    assert extras.confusion is not None
    assert extras.calibration is not None
    assert extras.saliency
    assert extras.data["tiny"].num_kept > 0
    report = write_report(evidence, comparison, tmp_path, extras)
    assert report.stat().st_size < 5_000_000
    sight = look_at(report, tmp_path)
    assert sight.complaints == []
    for seen in sight.frames.values():
        assert len(seen["trials"]) == 6
        assert all(wide > 100 and high > 60 for _, wide, high in seen["figures"] + seen["drawings"])
