"""The files for `ray up` are what Ray's launcher takes: prepared and validated by its own code, offline."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import study.tuning.cluster  # noqa: F401  Ray's environment, before Ray

from ray.autoscaler._private.util import prepare_config, validate_config  # isort: skip

OWN_MACHINES, AWS = "ray-cluster.yaml", "ray-cluster-aws.yaml"
FILES = (OWN_MACHINES, AWS)
START_COMMANDS = ("head_start_ray_commands", "worker_start_ray_commands")


def read(project: Path, file: str) -> dict[str, Any]:
    loaded = yaml.safe_load((project / "cluster" / file).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(params=FILES)
def config(project: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(project, request.param)


def test_rays_launcher_takes_it(config: dict[str, Any]) -> None:
    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]


def test_rays_launcher_refuses_a_misspelt_key(config: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        validate_config(prepare_config(config | {"idle_timeout_minuts": 5}))


def test_what_is_copied_to_the_nodes_is_here_or_made_by_the_commands_that_the_file_names(
    project: Path, config: dict[str, Any]
) -> None:
    sources = set(config["file_mounts"].values())
    assert sources == {"dist", "cluster/constraints.txt", "~/.ray/auth_token", "~/.ray/study.env"}
    assert (project / "cluster" / "constraints.txt").is_file()


def test_every_node_asks_for_a_token_and_none_is_in_the_file(config: dict[str, Any]) -> None:
    for commands in START_COMMANDS:
        assert "RAY_AUTH_MODE=token" in config[commands][-1]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_TOKEN" not in json.dumps(config)
    assert "PASSWORD" not in json.dumps(config)


def test_head_and_workers_get_one_environment(config: dict[str, Any]) -> None:
    head, worker = (config[commands][-1].split(" ray start")[0] for commands in START_COMMANDS)
    assert head == worker
    assert "STUDY_OUTPUT=/shared/studies" in head
    assert "PATH=$HOME/study-env/bin:$PATH" in head  # a job's `study` is looked for there


def test_the_head_takes_no_trial_and_its_dashboard_is_open_to_itself_only(config: dict[str, Any]) -> None:
    start = config["head_start_ray_commands"][-1]
    assert "--num-cpus=0 --num-gpus=0 --dashboard-host=127.0.0.1" in start


def test_all_machines_of_ones_own_are_taken(project: Path) -> None:
    config = read(project, OWN_MACHINES)
    assert config["min_workers"] == config["max_workers"] == len(config["provider"]["worker_ips"])


def test_rented_nodes_come_when_they_are_needed_and_go_when_they_are_idle(project: Path) -> None:
    prepared = prepare_config(read(project, AWS))
    workers = [node for name, node in prepared["available_node_types"].items() if name != prepared["head_node_type"]]
    assert [node["min_workers"] for node in workers] == [0, 0]
    assert sum(node["max_workers"] for node in workers) <= prepared["max_workers"]
    assert 0 < prepared["idle_timeout_minutes"] <= 30
    assert {node["resources"].get("GPU", 0) for node in workers} == {0, 1}
    assert all(node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"} for node in workers)
