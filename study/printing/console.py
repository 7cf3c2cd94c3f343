"""The console that results are printed on."""

from typing import Any

from rich.console import Console

PIPED_WIDTH = 160  # columns: in a file or a pipe nothing is gained by folding a recipe
Result = dict[str, Any]  # a result as plain data: what --json prints


def make_console() -> Console:
    """A console that prints as it is told: no colours for numbers, no line broken but in tables.

    What people and libraries wrote stands in nearly every line and cell: "violin [baroque]" is no markup, ":cat:" no picture.
    """
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console
