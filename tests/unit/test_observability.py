"""The files for Prometheus and Grafana ask for what there is, and can be read by whom they are for."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from study.tuning.platform_metrics import METRICS, STUDY_LABEL, Metric
from tests.observability import (
    ALERTS,
    CLUSTER,
    DASHBOARD,
    GPU_METRICS,
    alert_rules,
    asked_by_alerts,
    asked_by_dashboard,
    dashboard_expressions,
    metrics_asked,
    panels,
    read_yaml,
)

# Read from a scrape of Ray 2.60, which tests/integration/test_metrics.py repeats; `up` and ALERTS are Prometheus' own.
RAY_METRICS = GPU_METRICS | {
    *("ray_node_cpu_count", "ray_node_cpu_utilization", "ray_node_mem_used", "ray_node_mem_total", "ray_resources"),
    *("ray_node_disk_utilization_percentage", "ray_node_disk_io_read_speed", "ray_node_disk_io_write_speed"),
    *("ray_node_network_receive_speed", "ray_node_network_send_speed"),
}
PROMETHEUS_METRICS = {"up", "ALERTS"}
EXPRESSIONS = [*dashboard_expressions(), *(rule["expr"] for rule in alert_rules())]
GRID_WIDTH = 24


def promtool(*arguments: str | Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    checked = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_words_of_a_query_are_told_apart() -> None:
    asked = metrics_asked(
        ['sum by (study, state) (rate(a_total{b=~"c", d="e"}[5m])) / on (f) max_over_time(g[5m:1m] offset 2h)']
    )
    assert asked == {"a_total", "g"}


def test_dashboard_and_alerts_ask_for_metrics_that_somebody_declares() -> None:
    known = {metric.exported_name for metric in METRICS} | RAY_METRICS | PROMETHEUS_METRICS
    assert asked_by_dashboard() <= known
    assert asked_by_alerts() <= known


def test_every_metric_of_the_platform_is_on_the_dashboard_or_in_an_alert() -> None:
    assert {metric.exported_name for metric in METRICS} <= asked_by_dashboard() | asked_by_alerts()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_queries_select_by_labels_that_the_metric_has(metric: Metric) -> None:
    for expression in EXPRESSIONS:
        for selector in re.findall(rf"\b{metric.exported_name}\{{([^}}]*)\}}", expression):
            labels = set(re.findall(r"(\w+)\s*=", selector))
            assert labels <= {STUDY_LABEL, *metric.labels}, expression


def test_every_query_of_a_study_s_metric_on_the_dashboard_is_narrowed_to_the_chosen_study() -> None:
    for expression in dashboard_expressions()[:-1]:  # the last one lists the studies
        for name in re.findall(r"ray_study_\w+", expression):
            assert f'{name}{{study=~"$study"' in expression, expression


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    shown = list(panels(dashboard))
    assert len({panel["id"] for panel in shown}) == len(shown)
    assert [panel["title"].partition(":")[0] for panel in shown if panel["type"] == "row"] == [
        *("Study", "Throughput", "Hardware", "Record")
    ]
    assert {panel["type"] for panel in shown} == {"row", "stat", "timeseries"}
    for panel in shown:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= GRID_WIDTH
        assert panel["type"] == "row" or panel["targets"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", ()))


def test_no_two_panels_lie_on_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels(json.loads(DASHBOARD.read_text(encoding="utf-8"))):
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_grafana_is_told_of_the_data_source_and_the_dashboard() -> None:
    provisioning = CLUSTER / "grafana" / "provisioning"
    [source] = read_yaml(provisioning / "datasources" / "prometheus.yml")["datasources"]
    scraping = read_yaml(CLUSTER / "prometheus.yml")["global"]["scrape_interval"]
    assert (source["type"], source["jsonData"]["timeInterval"]) == ("prometheus", scraping)
    [provider] = read_yaml(provisioning / "dashboards" / "study.yml")["providers"]
    assert provider["type"] == "file"


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in alert_rules():
        assert {"summary", "fix"} <= rule["annotations"].keys()
        assert rule["labels"]["severity"] in ("info", "warning", "critical")


def test_prometheus_takes_its_configuration_and_the_alerts() -> None:
    promtool("check", "config", CLUSTER / "prometheus.yml")


def test_alerts_fire_when_they_should_and_not_when_it_only_looks_so(tmp_path: Path) -> None:
    text = Path(__file__).with_name("alerts_test.yml").read_text(encoding="utf-8")
    file = tmp_path / "alerts_test.yml"
    file.write_text(text.replace("- ALERTS ", f"- {ALERTS} "), encoding="utf-8")
    tested = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", text))
    assert tested == {rule["alert"] for rule in alert_rules()}  # each is made to fire once
    promtool("test", "rules", file)
