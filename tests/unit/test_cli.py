"""Errors as a person meets them: one line on standard error, and an exit code."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from study.cli import StudyCommands, main

DEFINITION = """
name = "tiny"
[data]
generated = "instruments"
target = "view"
num_photos = 60
image_size = 32
[space]
head = { choices = ["replace", "append"] }
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/s/x.png"), "got /s/x.png: Permission denied. Check the path"),
        (OSError(28, "No space left on device"), "got No space left on device. Free some space"),
        (OSError("cannot write mode RGBA\n as JPEG"), "got cannot write mode RGBA as JPEG. Check the disk and the network"),
        (TimeoutError(), "got TimeoutError. Check the disk and the network"),
    ],
)
def test_an_error_of_the_disk_is_one_line_with_the_file_the_reason_and_the_fix(error: OSError, told: str) -> None:
    @click.group(cls=StudyCommands)
    def commands() -> None: ...

    @commands.command()
    def write() -> None:
        raise error

    shown = CliRunner().invoke(commands, ["write"])
    assert shown.exit_code == 2
    [line] = shown.stderr.splitlines()
    assert line.startswith("Error: ")
    assert told in line


def test_a_place_that_takes_no_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(DEFINITION, encoding="utf-8")
    (tmp_path / "file").touch()
    places = {"STUDY_OUTPUT": str(tmp_path / "file" / "studies"), "STUDY_CACHE": str(tmp_path / "cache")}
    shown = CliRunner().invoke(main, ["data", str(tmp_path / "tiny.toml")], env=places)
    assert shown.exit_code == 2, shown.output
    [line] = [line for line in shown.stderr.splitlines() if line]
    assert str(tmp_path / "file" / "studies") in line
    assert "Not a directory" in line


def test_a_reader_that_has_gone_is_no_error() -> None:
    """As with `study locate - | head -1`."""
    code = (
        "from study.cli import main; import click\n@main.command()\ndef say():\n    for _ in range(99999): click.echo('word')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}main(['say'])"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 1
    assert told == b""
