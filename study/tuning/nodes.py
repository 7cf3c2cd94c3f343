"""The nodes of a cluster, checked before the first trial: the same code, the study's folder, photos and weights.

What a node lacks of the packed photos and the weights is sent to it once, in pieces through Ray, to the path where the driver
has it; so `STUDY_CACHE` need not be shared. The study's folder must be: trials are saved there, and go on from there elsewhere.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.errors import DataError, DefinitionError
from study.tuning import node_probe
from study.tuning.node_probe import NodeAnswer
from study.tuning.placement import NodeResources
from study.tuning.preparation import TrialFile
from study.tuning.shared_files import NOT_SHARED, SharedFiles

ANSWER_S = 120.0  # a process starts within seconds; on a busy machine with many nodes, within a minute
HASHED_BYTES_PER_S = 100 * 2**20  # by a node that reads from a slow disk
PIECE_BYTES = 32 * 2**20  # in Ray's object store at a time, whatever the data's size

ray.cloudpickle.register_pickle_by_value(node_probe)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Node:
    """One living node of the connected cluster."""

    node_id: str
    address: str
    resources: NodeResources


def living_nodes() -> list[Node]:
    """The nodes of the connected cluster."""
    return [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            NodeResources(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def prepare_nodes(
    nodes: Sequence[Node], study_folder: Path, files: Sequence[TrialFile], shared: SharedFiles = NOT_SHARED
) -> None:
    """Checks every node, and sends it those of the files that it lacks.

    Args:
        nodes: on which trials may run.
        study_folder: which all of them must share with this process, unless they share an address.
        files: that trials read.
        shared: the address, if there is one.
    Raises:
        DefinitionError: if a node does not answer, has other versions, or does not see what is shared.
        DataError: if a node holds another file at a path, or cannot take what it lacks.
    """
    place = _token_at(shared) if shared.address else _token_in(study_folder)
    with place as token:
        answers = _ask(nodes, token, files)
        for node, answer in zip(nodes, answers, strict=True):
            _require_same_versions(node, answer)
            token.require_seen(node, answer)
    for file in files:
        _send(file.path, [node for node, answer in zip(nodes, answers, strict=True) if _lacks(node, answer, file)])


@dataclass(frozen=True)
class Token:
    """A file of this process's own that every node must see.

    Attributes:
        place: its path, or the address of what it lies in.
        text: what it holds.
        require_seen: raises DefinitionError if a node does not see it, by what the node answered.
    """

    place: str
    text: str
    require_seen: Callable[[Node, NodeAnswer], None]


@contextmanager
def _token_at(shared: SharedFiles) -> Iterator[Token]:
    with shared.token() as name:

        def require_seen(node: Node, answer: NodeAnswer) -> None:
            problem = answer["problem"]
            if not problem and not shared.has_answer(name, node.node_id):
                problem = "what it wrote there did not arrive here"
            if problem:
                raise DefinitionError(
                    f"STUDY_SHARED must be an address that all nodes can write to, but {answer['host']} ({node.address}) "
                    f"cannot: {problem}. Give it the credentials that this machine has: `ray start` passes its environment on."
                )

        yield Token(shared.folder_address, name, require_seen)


@contextmanager
def _token_in(study_folder: Path) -> Iterator[Token]:
    """A file which goes away with those that the nodes write beside it."""
    token = study_folder / f".nodes-{uuid.uuid4().hex}"
    try:
        _write_token(token)
        yield Token(str(token), token.name, lambda node, answer: _require_shared_folder(node, answer, token))
    finally:
        for file in study_folder.glob(f"{token.name}*"):
            file.unlink(missing_ok=True)


def _write_token(token: Path) -> None:
    try:
        token.parent.mkdir(parents=True, exist_ok=True)
        token.write_text(token.name, encoding="utf-8")
    except OSError as error:
        raise DefinitionError(
            f"STUDY_OUTPUT must be a folder that can be written, but {token.parent} cannot: {error}. "
            f"Make room there, or set STUDY_OUTPUT."
        ) from error


def _ask(nodes: Sequence[Node], token: Token, files: Sequence[TrialFile]) -> list[NodeAnswer]:
    names = [str(file.path) for file in files]
    hashed = [str(file.path) for file in files if file.digest]
    asked = [_on(node, node_probe.probe).remote(token.place, token.text, names, hashed, node.node_id) for node in nodes]
    answers: list[NodeAnswer] = _results(nodes, asked)
    return answers


def _on(node: Node, function: Any) -> Any:
    """The function as a task of that node that waits for no CPU."""
    strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=strategy)


def _results(nodes: Sequence[Node], asked: Sequence[Any], patience_s: float = ANSWER_S) -> list[Any]:
    results = []
    for node, reference in zip(nodes, asked, strict=True):
        try:
            results.append(ray.get(reference, timeout=patience_s))
        except RayError as error:
            raise DefinitionError(
                f"every node must run a task before the study begins, but {node.address} did not: "
                f"{_cause(error)}. Look at `ray status`, and stop the node or mend it."
            ) from None
    return results


def _cause(error: RayError) -> str:
    """The line that tells it: of an error in a task the last, because its traceback comes before."""
    lines = str(error).strip().splitlines()
    return lines[-1] if isinstance(error, RayTaskError) else lines[0]


def _require_same_versions(node: Node, answer: NodeAnswer) -> None:
    for name, here in node_probe.versions().items():
        there = answer["versions"][name]
        if there != here:
            raise DefinitionError(
                f"all nodes must run the same code as the driver, but {name} is {here} here and {there} on {answer['host']} "
                f"({node.address}). Install the same there, and start the node again."
            )


def _require_shared_folder(node: Node, answer: NodeAnswer, token: Path) -> None:
    problem = answer["problem"]
    if not problem and not token.with_name(f"{token.name}.{node.node_id}").exists():
        problem = "what it wrote there did not arrive here"
    if problem:
        raise DefinitionError(
            f"STUDY_OUTPUT must be a folder that all nodes share, but {answer['host']} ({node.address}) does not see "
            f"{token.parent}: {problem}. Set STUDY_OUTPUT to a folder on NFS or the like, at the same path everywhere."
        )


def _lacks(node: Node, answer: NodeAnswer, file: TrialFile) -> bool:
    sizes: Mapping[str, int | None] = answer["sizes"]
    here, there = file.path.stat().st_size, sizes[str(file.path)]
    if there not in (None, here):
        raise _another(node, answer, file, f"{here:,} bytes here and {there:,}")
    if there is not None and file.digest:
        digest = answer["digests"][str(file.path)] or "none"
        if not digest.startswith(file.digest):
            raise _another(node, answer, file, f"the SHA-256 {file.digest} here and {digest[: len(file.digest)]}")
    return there is None


def _another(node: Node, answer: NodeAnswer, file: TrialFile, difference: str) -> DataError:
    return DataError(
        f"a file must be the same on all nodes, but {file.path} has {difference} on {answer['host']} ({node.address}). "
        f"Delete it there: it will be sent."
    )


def _send(file: Path, nodes: Sequence[Node]) -> None:
    """Sends a file to nodes, a piece at a time to all of them; with the last goes its SHA-256, to be compared there."""
    if not nodes:
        return
    size, sender, hasher = file.stat().st_size, uuid.uuid4().hex, hashlib.sha256()
    with file.open("rb") as opened:
        for begin in range(0, size, PIECE_BYTES):
            content = opened.read(PIECE_BYTES)
            hasher.update(content)
            is_last = begin + PIECE_BYTES >= size
            written = (begin, ray.put(content), hasher.hexdigest() if is_last else "")
            asked = [
                _on(node, node_probe.write_piece).remote(str(file), f"{node.node_id}.{sender}", *written) for node in nodes
            ]
            patience_s = ANSWER_S + (size / HASHED_BYTES_PER_S if is_last else 0.0)
            for node, problem in zip(nodes, _results(nodes, asked, patience_s), strict=True):
                _require_taken(node, file, problem)


def _require_taken(node: Node, file: Path, problem: str) -> None:
    if problem:
        raise DataError(
            f"a node must take the photos and weights that it lacks, but {node.address} cannot write {file}: {problem}. "
            f"Make room there and try again, or share STUDY_CACHE and the weights' folder at the same path."
        )
