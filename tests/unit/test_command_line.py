"""The command line tells what it can do."""

from click.testing import CliRunner

from services.cli.main import cli


def test_the_help_names_each_command_in_one_whole_line() -> None:
    shown = CliRunner().invoke(cli, ["--help"], env={"COLUMNS": "80"}).output
    lines = [line.split(maxsplit=1) for line in shown.split("Commands:\n")[1].splitlines()]
    assert [line[0] for line in lines] == sorted(cli.commands)
    # What does not fit on a line would end in three points.
    assert [line for line in lines if len(line) < 2 or not line[1].endswith(".") or line[1].endswith("..")] == []
