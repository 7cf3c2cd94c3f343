"""What the files under cluster/ ask Prometheus for, and what a scrape shows: read for the tests."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CLUSTER = Path(__file__).parents[1] / "cluster"
DASHBOARD = CLUSTER / "grafana" / "dashboards" / "study.json"
ALERTS = CLUSTER / "alerts.yml"
# Ray shows these on nodes with a GPU only.
GPU_METRICS = frozenset({"ray_node_gpus_utilization", "ray_node_gram_used", "ray_node_gram_available"})
# What PromQL itself means by a word, as far as our expressions use it.
OVER_TIME = frozenset({"avg_over_time", "last_over_time", "max_over_time", "min_over_time", "delta", "increase", "rate"})
FUNCTIONS = OVER_TIME | {"avg", "clamp_min", "count", "max", "min", "sum", "time", "vector"}
WORDS = frozenset({"and", "or", "unless", "by", "on", "without", "ignoring", "group_left", "group_right", "offset", "bool"})


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every panel, those inside rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panels({"panels": panel.get("panels", ())})


def dashboard_expressions() -> list[str]:
    """Every query of the dashboard, its variables' too."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in panels(dashboard) for target in panel.get("targets", ())]
    variables = [one["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    return asked + [re.sub(r"label_values\((.*), *\w+\)", r"\1", query) for query in variables]


def read_yaml(file: Path) -> Any:
    """What a file holds."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def alert_rules() -> list[Mapping[str, Any]]:
    """Every alert."""
    return [rule for group in read_yaml(ALERTS)["groups"] for rule in group["rules"]]


def metrics_asked(expressions: Iterable[str]) -> set[str]:
    """Names of the metrics in PromQL: every word that is no function, no keyword, no label and no text."""
    names: set[str] = set()
    for expression in expressions:
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", expression)
        bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
        names |= set(re.findall(r"(?<![\w.$])[A-Za-z_:][\w:]*", bare))
    return names - FUNCTIONS - WORDS


def asked_by_dashboard() -> set[str]:
    """Metrics that the dashboard asks for."""
    return metrics_asked(dashboard_expressions())


def asked_by_alerts() -> set[str]:
    """Metrics that the alerts ask for."""
    return metrics_asked(rule["expr"] for rule in alert_rules())


def samples_of(scrape: str) -> dict[str, float]:
    """Values by series, from Prometheus' text format."""
    lines = (line.rpartition(" ") for line in scrape.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines if series}


def names_in(series: Iterable[str]) -> set[str]:
    """The metrics that series belong to."""
    return {one.partition("{")[0] for one in series}


def study_total(series: Mapping[str, float], name: str, **labels: str) -> float:
    """Sum of a metric's series with these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(value for one, value in series.items() if one.partition("{")[0] == name and all(part in one for part in wanted))
