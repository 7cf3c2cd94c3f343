"""What is asked of a node and sent to it; the node's own part runs here, without Ray."""

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import GetTimeoutError, RayTaskError

from study.errors import DataError, DefinitionError
from study.tuning import nodes
from study.tuning.node_probe import NodeAnswer, probe, write_piece
from study.tuning.nodes import Node
from study.tuning.placement import NodeResources
from study.tuning.preparation import TrialFile

NODE = Node("node-id", "10.0.0.7", NodeResources(cpus=8, gpus=1))
FIRST, SECOND = b"a" * 10, b"b" * 5


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def answer_for(file: TrialFile, folder: Path) -> NodeAnswer:
    token = folder / "token"
    token.write_text("text")
    return probe(str(token), "text", [str(file.path)], [str(file.path)] if file.digest else [], "node-id")


def test_a_file_is_put_in_place_with_its_last_piece(tmp_path: Path) -> None:
    file = tmp_path / "images" / "photos.npy"
    assert write_piece(str(file), "one", 0, FIRST, "") == ""
    assert not file.exists()
    assert write_piece(str(file), "one", len(FIRST), SECOND, sha256(FIRST + SECOND)) == ""
    assert file.read_bytes() == FIRST + SECOND
    assert list(file.parent.iterdir()) == [file]


def test_two_drivers_that_send_at_once_write_no_piece_into_each_others_file(tmp_path: Path) -> None:
    file = tmp_path / "photos.npy"
    write_piece(str(file), "one", 0, FIRST, "")
    write_piece(str(file), "other", 0, b"c" * 10, "")
    assert write_piece(str(file), "one", len(FIRST), SECOND, sha256(FIRST + SECOND)) == ""
    assert file.read_bytes() == FIRST + SECOND


def test_a_file_that_arrives_damaged_is_not_put_in_place(tmp_path: Path) -> None:
    file = tmp_path / "photos.npy"
    write_piece(str(file), "one", 0, FIRST, "")
    problem = write_piece(str(file), "one", len(FIRST), b"x" * 5, sha256(FIRST + SECOND))
    assert "arrived damaged" in problem
    assert sha256(FIRST + SECOND)[:16] in problem
    assert list(tmp_path.iterdir()) == []


def test_a_piece_that_cannot_be_written_is_a_problem_and_leaves_nothing(tmp_path: Path) -> None:
    assert "No such file" in write_piece(str(tmp_path / "photos.npy"), "one", 10, FIRST, "")
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_driver_sent_is_deleted_by_the_next_and_what_a_living_one_sends_is_not(tmp_path: Path) -> None:
    file = tmp_path / "photos.npy"
    for part in ("dead", "living"):
        write_piece(str(file), part, 0, FIRST, "")
    yesterday_s = time.time() - 86_400
    os.utime(tmp_path / "photos.npy.dead.partial", (yesterday_s, yesterday_s))
    write_piece(str(file), "next", 0, FIRST, "")
    assert {file.name for file in tmp_path.iterdir()} == {"photos.npy.living.partial", "photos.npy.next.partial"}


def test_other_weights_of_the_same_size_at_the_same_path_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(FIRST)
    file = TrialFile(weights, sha256(FIRST)[:16])
    assert not nodes._lacks(NODE, answer_for(file, tmp_path), file)
    weights.write_bytes(b"c" * len(FIRST))  # as it lies on the node
    with pytest.raises(DataError, match=rf"weights\.pth has the SHA-256 {file.digest} here and {sha256(b'c' * 10)[:16]} on"):
        nodes._lacks(NODE, answer_for(file, tmp_path), file)


def test_a_file_of_another_size_is_refused_and_a_missing_one_is_lacking(tmp_path: Path) -> None:
    photos = tmp_path / "photos.npy"
    file = TrialFile(photos)
    missing = answer_for(file, tmp_path)
    photos.write_bytes(FIRST)
    shorter = answer_for(file, tmp_path)
    photos.write_bytes(FIRST + SECOND)
    assert nodes._lacks(NODE, missing, file)
    with pytest.raises(DataError, match="has 15 bytes here and 10 on"):
        nodes._lacks(NODE, shorter, file)


def failing_get(error: Exception) -> Any:
    def get(reference: object, timeout: float) -> None:
        raise error

    return get


def test_an_error_on_a_node_is_told_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'ray::probe() (pid=1)\n  File "node_probe.py", line 1, in probe\nMemoryError: no room for it\n\n'
    error = RayTaskError("probe", text, MemoryError("no room for it"))  # type: ignore[no-untyped-call]
    monkeypatch.setattr(ray, "get", failing_get(error))
    with pytest.raises(DefinitionError, match=r"10\.0\.0\.7 did not: MemoryError: no room for it\. Look") as raised:
        nodes._results([NODE], [None])
    assert "\n" not in str(raised.value)


def test_a_node_that_does_not_answer_is_told_by_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", failing_get(GetTimeoutError("timed out\nsome hint")))
    with pytest.raises(DefinitionError, match=r"did not: timed out\. Look"):
        nodes._results([NODE], [None])


def test_a_lost_connection_is_not_taken_for_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="the cluster is gone"), nodes._token_in(tmp_path / "study"):
        raise ConnectionError("the cluster is gone")
    assert list((tmp_path / "study").iterdir()) == []


def test_a_study_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DefinitionError, match="STUDY_OUTPUT must be a folder that can be written"),
        nodes._token_in(tmp_path / "file" / "study"),
    ):
        pass


def test_a_file_is_sent_in_pieces_and_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two nodes' tasks run here, and write beside the file."""
    here = tmp_path / "photos.npy"
    here.write_bytes(FIRST + SECOND)

    class Task:
        def __init__(self, node: Node, function: Any) -> None:
            self.node, self.function = node, function

        def remote(self, file: str, *arguments: Any) -> Any:
            return self.function(str(tmp_path / self.node.node_id / Path(file).name), *arguments)

    monkeypatch.setattr(nodes, "_on", Task)
    monkeypatch.setattr(nodes, "PIECE_BYTES", 4)
    monkeypatch.setattr(ray, "put", lambda piece: piece)
    monkeypatch.setattr(ray, "get", lambda reference, timeout: reference)
    nodes._send(here, [NODE, replace(NODE, node_id="second")])
    for name in ("node-id", "second"):
        assert [file.read_bytes() for file in (tmp_path / name).iterdir()] == [FIRST + SECOND]
