"""Studies whose trials' files lie under an address, because machines have no folder in common."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clusters import node_with_own_mounts, simulated_cluster, why_no_own_mounts

from .conftest import TINY, Workplace

SHORT = TINY[: TINY.index("pruner =")].replace("trials = 6", "trials = 4").replace("epochs = 3", "epochs = 1")


def names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_the_weights_of_the_best_trials_are_under_the_address_and_become_the_model(
    make_workplace: Callable[..., Workplace], tmp_path: Path
) -> None:
    workplace = make_workplace(STUDY_SHARED=f"file://{tmp_path}/bucket", STUDY_CACHE=str(tmp_path / "cache"))
    result = workplace.json("run", workplace.write(SHORT), "--in-process")
    assert result["counts"] == {"COMPLETE": 4}
    best = [f"tiny/{row['trial']:05d}.safetensors" for row in result["leaderboard"][:3]]
    logs = [f"trial_{number:05d}.log" for number in range(4)]
    assert names(tmp_path / "bucket") == sorted([*best, *(f"tiny/{log}" for log in logs)])
    assert names(tmp_path / "cache" / "trials") == [f"tiny/logs/{log}" for log in logs]  # weights are sent, logs copied
    assert workplace.run("logs", "tiny", "3").stdout.endswith("ended: all epochs done\n")
    predicted = workplace.json("pull", "models:/tiny@champion", tmp_path / "model")
    assert Path(predicted["folder"]).is_dir()
    assert workplace.json("reconcile", "tiny") == []


@pytest.mark.long  # a node starts
@pytest.mark.skipif(why_no_own_mounts() is not None, reason=str(why_no_own_mounts()))
def test_a_node_without_the_studys_folder_takes_part_where_an_address_is_shared(
    make_workplace: Callable[..., Workplace], tmp_path: Path
) -> None:
    with simulated_cluster(0, cpus=0) as cluster:
        workplace = make_workplace(STUDY_SHARED=f"file://{tmp_path}/bucket", RAY_ADDRESS=cluster.address)
        output = workplace.folder / "studies"
        output.mkdir()
        with node_with_own_mounts(cluster, [["-t", "tmpfs", "tmpfs", str(output)]]) as root:
            assert workplace.json("run", workplace.write(SHORT))["counts"] == {"COMPLETE": 4}
            assert names(root / output.relative_to("/")) == []
            away = replace(workplace, environment={**workplace.environment, "STUDY_SHARED": "file:///proc/nowhere"})
            refused = away.run("run", away.write(SHORT.replace('"tiny"', '"away"')), code=2)
    assert len([name for name in names(tmp_path / "bucket") if name.endswith(".safetensors")]) == 3
    assert "STUDY_SHARED must be an address" in refused.stderr
    assert refused.stderr.count("\n") == 1
