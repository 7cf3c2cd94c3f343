"""Commands that can be given from outside a cluster: with --address http://HEAD:8265, their own line is sent there and run."""

import os
import secrets
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from study.commands.shared import ADDRESS_HELP, FAILED, print_result
from study.errors import DefinitionError
from study.settings import is_job_address

if TYPE_CHECKING:
    from study.tuning.job_lines import Stream
    from study.tuning.jobs import JobClient, JobRequest

ARGUMENTS = "study.arguments"  # in a context: what the command was given, before it was parsed
OWN_OPTIONS = {"--address": 1, "--detach": 0}  # that say where a command runs, and how many values each has
RECEIVE = "receive"  # the hidden command that runs a sent line


class ClusterCommand(click.Command):
    """A command that `--address http://…` sends to a cluster: what it prints comes here, and so does its exit code."""

    def __init__(self, *arguments: Any, can_detach: bool = False, checks_version: bool = True, **options: Any) -> None:
        """Args:
        can_detach: Ctrl-C leaves it running there; without, it ends it.
        checks_version: the cluster's software must be the same.
        """
        super().__init__(*arguments, **options)
        self._can_detach = can_detach
        self._checks_version = checks_version
        if can_detach:
            detach = "Of a cluster at http://: return as soon as it has taken the study."
            self.params.append(click.Option(["--detach"], is_flag=True, expose_value=False, help=detach))
        self._joins = any(parameter.name == "address" for parameter in self.params)
        if not self._joins:
            self.params.append(click.Option(["--address"], expose_value=False, help="The cluster to ask, http://HEAD:8265."))

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """As click does; what was given is kept."""
        context.meta[ARGUMENTS] = tuple(arguments)
        return super().parse_args(context, arguments)

    def invoke(self, context: click.Context) -> Any:
        """Runs the command here, or there."""
        kept, taken = split_own_options(context.meta[ARGUMENTS])
        address = taken.get("--address") or ("" if context.params.get("in_process") else os.environ.get("RAY_ADDRESS", ""))
        if is_job_address(address):
            context.exit(self._send(context, address, kept, is_detached="--detach" in taken))
        if "--detach" in taken or (address and not self._joins and "--address" in taken):
            raise click.UsageError(
                f"`{context.info_name}` is sent to a cluster's dashboard, but --address is {address or 'missing'}. "
                f"Write --address http://HEAD:8265"
            )
        return super().invoke(context)

    def _send(self, context: click.Context, address: str, arguments: Sequence[str], *, is_detached: bool) -> int:
        from study.tuning.ray_jobs import RayJobs

        client = RayJobs(address)
        with self._request(context, address, arguments) as request:
            client.submit(request)
        name = request.notes.get("study", "")
        if not is_detached:
            return self._follow(client, request, name, address)
        from study.tuning.jobs import follow_job

        code = follow_job(client, request.name, show_line, until_accepted=True)
        if code == 0:
            handed = {"study": name, "job": request.name, "address": address}
            print_result(handed, lambda result: click.echo(_handed_over(result)), "--json" in arguments)
        return code

    def _follow(self, client: "JobClient", request: "JobRequest", name: str, address: str) -> int:
        """Shows the command's output; Ctrl-C leaves a study running, and ends what only looks."""
        from study.tuning.jobs import follow_job

        try:
            return follow_job(client, request.name, show_line)
        except KeyboardInterrupt:
            if self._can_detach:
                click.echo(f"Detached: {name} goes on as job {request.name}. {_see(name, address)}", err=True)
            else:
                client.stop(request.name)
            return FAILED

    @contextmanager
    def _request(self, context: click.Context, address: str, arguments: Sequence[str]) -> "Iterator[JobRequest]":
        """What is sent; its files are there while the context lasts."""
        from study.tuning.jobs import JobRequest
        from study.tuning.received import this_version

        version = ["--version", this_version()] if self._checks_version else []
        line = [str(context.info_name), *arguments]
        name = _study_name(context)
        job = "-".join(filter(None, ("study", context.info_name, name, secrets.token_hex(4))))
        notes = {"study": name} if name else {}
        file: Path | None = context.params.get("file")
        if file is None:
            yield JobRequest((RECEIVE, *version, "--", *line), job, notes=notes)
            return
        from study.definition import load_definition
        from study.tuning.submission import write_package

        definition = load_definition(_one_file(file, address))
        with tempfile.TemporaryDirectory() as folder:
            package = write_package(definition, Path(folder))
            line = [package.definition if Path(word) == file else word for word in line]
            files = ["--study", definition.name, "--files", package.digest]
            job = f"study-{context.info_name}-{definition.name}-{secrets.token_hex(4)}"
            notes = {"study": definition.name}
            yield JobRequest((RECEIVE, *version, *files, "--", *line), job, Path(folder), notes)


def split_own_options(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A command's line without the options that say where it runs, and those by their names."""
    kept: list[str] = []
    taken: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        option, separator, value = word.partition("=")
        if word == "--":
            kept += [word, *words]
        elif option not in OWN_OPTIONS:
            kept.append(word)
        else:
            taken[option] = value if separator or not OWN_OPTIONS[option] else next(words)
    return kept, taken


def show_line(stream: "Stream", line: str) -> None:
    """A line of a sent command, on the stream where it would be here."""
    click.echo(line, err=stream == "stderr")


def _one_file(file: Path, address: str) -> Path:
    if file.is_dir():
        raise DefinitionError(
            f"a cluster takes one definition at a time, but {file} is a folder. Send its files one by one: "
            f'for file in {shlex.quote(str(file))}/*.toml; do study run "$file" --address {shlex.quote(address)} --detach; done'
        )
    return file


def _study_name(context: click.Context) -> str:
    names = context.params.get("name") or context.params.get("names") or ""
    return names if isinstance(names, str) else names[0]


def _handed_over(handed: dict[str, str]) -> str:
    return f"{handed['study']} runs on the cluster as job {handed['job']}. {_see(handed['study'], handed['address'])}"


def _see(name: str, address: str) -> str:
    return (
        f"Look again: study logs {name} --follow --address {address} · what runs: study status --address {address} · "
        f"end it: study stop {name} --address {address}"
    )


__all__ = ["ADDRESS_HELP", "RECEIVE", "ClusterCommand", "show_line", "split_own_options"]
