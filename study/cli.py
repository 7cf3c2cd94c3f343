"""The command line: each command parses, calls one function, prints.

Rooms are imported inside the commands: `study --help` must answer at once, and torch alone takes two seconds.
"""

from typing import Any

import click

from study import __version__
from study.commands import comparing, drawing, explaining, models, places, promoting, remote, results, studies
from study.errors import StudyError, in_one_line


class StudyCommands(click.Group):
    """Turns our errors, and those of disks and permissions, into one line on stderr and their exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise  # whoever read our output has gone: click ends without a word
        except (StudyError, OSError) as error:
            click.echo(f"Error: {in_one_line(error)}", err=True)
            context.exit(error.exit_code if isinstance(error, StudyError) else StudyError.exit_code)


@click.group(cls=StudyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="study")
def main() -> None:
    """Which transfer-learning recipe is best for your photos, and how sure are we?

    A study is a TOML file. Ray Tune places its trials, Optuna proposes and prunes them, MLflow records every one, and the best
    model comes out of the registry. Start with: study run search_spaces/quickstart.toml
    """


for command in (
    *(studies.check, studies.data, studies.run, studies.resume, studies.reconcile),
    *(results.list_studies, results.show, results.ui),
    comparing.compare,
    *(models.predict, models.pull),
    promoting.promote,
    *(explaining.explain, explaining.visualize),
    places.locate,
    drawing.draw,
    *(remote.status, remote.logs, remote.stop, remote.receive),
):
    main.add_command(command)


if __name__ == "__main__":
    main()
