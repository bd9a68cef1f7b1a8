"""The ``telemed`` command."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.cli.catalogue import load_services
from services.cli.demo.commands import commands as demo
from services.cli.identity import commands as identity
from services.cli.operate import commands as operate
from services.cli.rules import commands as rules
from services.cli.stack import livekit
from services.cli.stack.errors import StackError
from services.cli.stack.jars import Report
from services.cli.stack.kafka import default_cache, prepare
from services.cli.stack.parts import is_ready
from services.cli.stack.ports import is_open
from services.cli.stack.process import Identity, last_line
from services.cli.stack.settings import StackSettings
from services.cli.stack.state import Home, PartRecord, Record
from services.cli.stack.supervisor import Supervisor
from services.runtime.settings import SettingsError, load

__all__ = ["cli", "main"]

_WRONG = 2
_INTERRUPTED = 130
_DOWN_S = 60.0


def main() -> None:
    """Run ``telemed``: what is wrong is said in one line on standard error, with exit code 2."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except (StackError, SettingsError) as error:
        click.echo(f"telemed: {error}", err=True)
    except click.ClickException as error:
        error.show()
    except click.Abort:
        sys.exit(_INTERRUPTED)
    sys.exit(_WRONG)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(file_okay=True, path_type=Path),
    envvar="TELEMED_HOME",
    default=Path(".telemed"),
    show_default=True,
    help="Folder of this stack: its data, secrets and logs.  [env: TELEMED_HOME]",
)
@click.pass_context
def cli(context: click.Context, home: Path) -> None:
    """An event-driven backend for telemedicine clinics."""
    context.obj = Home(home)


@cli.group()
def stack() -> None:
    """The parts of the local stack."""


@stack.command("prepare")
def stack_prepare() -> None:
    """Fetch and verify Apache Kafka and make what quick starts need; does nothing when that is done."""
    with _progress() as report:
        asyncio.run(prepare(default_cache(), report))


@stack.command("livekit")
def stack_livekit() -> None:
    """Build the video server with Go, where it was not built before; `telemed up` then starts it too."""
    with _progress() as report:
        click.echo(livekit.build(default_cache(), report))


_PORTS = {
    "postgres_port": "PostgreSQL",
    "kafka_port": "Apache Kafka",
    "kafka_controller_port": "the controller of Apache Kafka",
    "smtp_port": "the mail server",
    "mail_port": "the page that shows the mail",
    "issuer_port": "the page where people sign in",
    "livekit_port": "the video server",
    "livekit_udp_port": "its media, over UDP",
    "port_offset": "every part: this is added to each port",
}


def _port_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, what in reversed(_PORTS.items()):
        setting = StackSettings.model_fields[name]
        command = click.option(
            "--" + name.replace("_", "-"),
            type=int,
            help=f"Port of {what}.  [default: {setting.default}; env: TELEMED_STACK_{name.upper()}]",
        )(command)
    return command


@cli.command()
@click.option("--fresh", is_flag=True, help="Delete all data first. What was downloaded is kept.")
@click.option("--detach", is_flag=True, help="Return when everything is ready; `telemed down` stops it.")
@click.option("--demo", "play", is_flag=True, help="When everything is ready, play `telemed demo`; then stay up.")
@_port_options
@click.pass_obj
def up(home: Home, /, fresh: bool, detach: bool, play: bool, **ports: int | None) -> None:
    """Start the whole local stack, and stay until Ctrl-C."""
    given = {f"TELEMED_STACK_{name.upper()}": str(port) for name, port in ports.items() if port is not None}
    os.environ.update(given)
    settings = load(StackSettings)
    if detach and play:
        raise click.UsageError("--demo plays where it can be seen: without --detach, or `telemed demo` afterwards")
    if detach:
        _up_detached(home, fresh)
        return
    services = load_services()
    with home.lock():
        left = home.end_leftovers()
        with _progress() as report:
            if left:
                report(f"ended {left} processes of a supervisor that was killed", None)
            if fresh:
                _delete(home.data)
            supervisor = Supervisor(home, default_cache(), settings, services, report, _say)
            ready = asyncio.run(supervisor.run(lambda record: _when_ready(home, record, report, play)))
    if not ready:
        sys.exit(_INTERRUPTED)


def _delete(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StackError(f"{error.filename} cannot be deleted: {error.strerror}") from None


def _up_detached(home: Home, fresh: bool) -> None:
    # Taken and given back: whoever is at work here already is named by the usual error.
    with home.lock():
        home.logs.mkdir(parents=True, exist_ok=True)
    log = home.logs / "supervisor.log"
    command = [sys.executable, "-m", "services.cli.main", "--home", str(home.folder), "up"] + ["--fresh"] * fresh
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    with _progress() as report:
        try:
            while True:
                record = home.read()
                mine = record if record and record.pid == process.pid else None
                if mine and mine.phase == "ready":
                    break
                if process.poll() is not None:
                    raise StackError(last_line(log, "telemed: ").removeprefix("telemed: "))
                report(mine.phase if mine else "starting", None)
                time.sleep(0.1)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait()
            sys.exit(_INTERRUPTED)
    _console.print(_table(mine))


@cli.command()
@click.pass_obj
def down(home: Home) -> None:
    """Stop the stack and wait until it is gone."""
    record = home.read()
    if record is None:
        click.echo("nothing runs here")
        return
    if record.supervisor.send(signal.SIGTERM) and not record.supervisor.wait_gone(_DOWN_S):
        raise StackError(f"the supervisor (process {record.pid}) has not ended after {_DOWN_S:.0f} s")
    # The supervisor may have been killed, now or long ago: what it started is then still there.
    if home.read() is not None:
        with home.lock():
            home.end_leftovers()
    click.echo("stopped")


@cli.command()
@click.pass_obj
def status(home: Home) -> None:
    """Show every part. Exit code 0 when all are ready, 1 when not."""
    record = home.read()
    if record is None:
        click.echo("nothing runs here")
        sys.exit(1)
    supervised = record.supervisor.process() is not None
    healthy = asyncio.run(_healthy(record.parts))
    table = _plain_table("part", "state", "process", "restarts", "where", "last end")
    for part, answers in zip(record.parts, healthy, strict=True):
        runs = Identity(part.pid, part.created).process() is not None
        state = part.state if part.state != "ready" else "ready" if answers else "not answering" if runs else "dead"
        pid = str(part.pid) if runs else "-"
        table.add_row(part.name, state, pid, str(part.restarts), part.address, part.last_end)
    _console.print(table)
    if not supervised:
        click.echo(f"the supervisor (process {record.pid}) is dead: `telemed up` starts anew, `telemed down` cleans up")
    elif record.phase != "ready":
        click.echo(f"supervisor: {record.phase}")
    sys.exit(0 if supervised and record.phase == "ready" and all(healthy) else 1)


async def _healthy(parts: list[PartRecord]) -> list[bool]:
    async def answers(part: PartRecord) -> bool:
        return await is_ready(part.health) if part.health else await asyncio.to_thread(is_open, part.port)

    return await asyncio.gather(*(answers(part) for part in parts))


@cli.command()
@click.argument("service")
@click.option("--follow", "-f", is_flag=True, help="Go on as the log grows, until Ctrl-C.")
@click.option("--lines", "-n", type=click.IntRange(min=0), default=100, show_default=True)
@click.pass_obj
def logs(home: Home, service: str, follow: bool, lines: int) -> None:
    """Show the log of one part.

    A service, postgres, kafka, mail or livekit; the supervisor when it was detached.
    """
    log = _log_of(home, service.replace("-", "_"))
    with log.open("rb") as file:
        # A log is at most a few megabytes: it is rotated.
        for line in file.read().splitlines()[-lines:] if lines else []:
            click.echo(line)
        try:
            while follow:
                click.echo(file.read(), nl=False)
                time.sleep(0.2)
        except KeyboardInterrupt:
            return


def _log_of(home: Home, service: str) -> Path:
    known = {
        "postgres": home.data / "postgres.log",
        "kafka": home.data / "kafka" / "broker.log",
        **{path.stem: path for path in home.logs.glob("*.log")},
    }
    if service not in known or not known[service].exists():
        there = ", ".join(sorted(name for name, path in known.items() if path.exists())) or "none yet"
        raise StackError(f"there is no log of {service}; there are: {there}")
    return known[service]


# --- what people see ---

_console = Console(highlight=False)
if not _console.is_terminal:
    _console.width = 200  # whoever reads a file or a pipe wants whole lines


def _say(text: str) -> None:
    _console.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _progress() -> Iterator[Report]:
    """A bar where somebody looks at a terminal, else one line per step."""
    if not _console.is_terminal:
        last = ""

        def line(text: str, _part: float | None) -> None:
            nonlocal last
            step = text.split(" ")[0] if text.startswith("fetching") else text
            if step != last:
                last = step
                click.echo(text)

        yield line
        return
    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    with Progress(*columns, BarColumn(), TimeElapsedColumn(), console=_console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def bar(text: str, part: float | None) -> None:
            if text == "ready":
                progress.stop()
                return
            if text == "stopping":
                progress.start()
            progress.update(task, description=text, total=None if part is None else 1.0, completed=part or 0.0)

        yield bar


def _show_ready(home: Home, record: Record, report: Report) -> None:
    report("ready", None)
    _console.print(_table(record))
    _say(f"Data and logs are in {home.folder}. Ctrl-C stops everything.")


def _when_ready(home: Home, record: Record, report: Report, play: bool) -> Callable[[], None]:
    """Say that it is ready, and play; returns what ends the playing."""
    _show_ready(home, record, report)
    if not play:
        return lambda: None
    # A process of its own: it asks the services like anybody else.
    playing = subprocess.Popen([sys.executable, "-m", "services.cli.main", "--home", str(home.folder), "demo"])

    def end() -> None:
        playing.terminate()
        playing.wait()

    return end


def _table(record: Record) -> Table:
    table = _plain_table("part", "where")
    for part in record.parts:
        table.add_row(part.name, part.address)
    return table


def _plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


for _command in (*identity, *operate, *rules, *demo):
    cli.add_command(_command)


if __name__ == "__main__":
    main()
