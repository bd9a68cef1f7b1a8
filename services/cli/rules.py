"""``telemed thresholds ...`` and ``telemed rules ...``: sign and check the clinical numbers, and read what a rule says
about a case.

Registered by the command line from ``commands``. Nothing here decides: ``rules explain`` prints a proposal with its
evidence.
"""

import datetime as dt
import json
import os
import textwrap
from pathlib import Path
from typing import Final

import click

from services.therapies import thresholds as files
from services.therapies.cases import read_case
from services.therapies.evidence import Evaluation, Rejected, Thresholds, canonical, plain
from services.therapies.registry import COMMON, THERAPIES, keys_of

__all__ = ["commands"]

NAMES: Final = (*THERAPIES, *COMMON)


def _production() -> bool:
    """Unset means production; only the local stack says otherwise."""
    return os.environ.get("TELEMED_ENV") != "local"


def _load(name: str, directory: Path, production: bool) -> tuple[Thresholds, ...]:
    known = keys_of(name)
    if known is None:
        raise click.ClickException(f"{name} is not one of {', '.join(NAMES)}")
    try:
        return files.load_all(name, known, production=production, directory=directory)
    except files.Refused as refused:
        raise click.ClickException(str(refused)) from None


directory_option = click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=files.DIRECTORY,
    help="Where the threshold files are; the shipped ones by default.",
)
production_option = click.option(
    "--production/--no-production",
    default=None,
    help="Refuse the development key; by default unless TELEMED_ENV is local.",
)


def _is_production(flag: bool | None) -> bool:
    return _production() if flag is None else flag


@click.group()
def thresholds() -> None:
    """Sign, verify, show and compare the dated clinical numbers."""


@thresholds.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Ed25519 private key, PEM.",
)
def sign(file: Path, key: Path) -> None:
    """Write the detached signature beside FILE."""
    try:
        click.echo(f"signed: {files.sign(file, key.read_bytes()).name}")
    except files.Refused as refused:
        raise click.ClickException(str(refused)) from None


@thresholds.command()
@directory_option
@production_option
def verify(directory: Path, production: bool | None) -> None:
    """Check every file of every programme; exit 1 on the first that is refused, naming it and why."""
    for name in NAMES:
        for revision in _load(name, directory, _is_production(production)):
            click.echo(f"{revision.revision}  key {revision.signed_by}  approver {revision.approver}")


@thresholds.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="The date for which; today's by default.")
@directory_option
@production_option
def show(name: str, as_of: dt.datetime | None, directory: Path, production: bool | None) -> None:
    """Print the revision of NAME in force: each value with unit, comparison, source and tag."""
    day = as_of.date() if as_of else dt.datetime.now(dt.UTC).date()
    revision = files.as_of(_load(name, directory, _is_production(production)), day)
    if revision is None:
        raise click.ClickException(f"no revision of {name} is in force on {day}")
    click.echo(f"{revision.revision}  key {revision.signed_by}  approver {revision.approver}")
    for key, t in sorted(revision.values.items()):
        click.echo(f"  {key}  {t}  [{t.tag}: {t.source}]")
    for rule in sorted(revision.rules.values(), key=lambda r: r.id):
        click.echo(f"  {rule.id}  {rule.outcome.value}  {rule.reason}  [{rule.tag}: {rule.source}]")
    for key, items in sorted(revision.lists.items()):
        click.echo(f"  {key}  {', '.join(items)}")


@thresholds.command()
@click.argument("name", type=click.Choice(NAMES))
@click.argument("old")
@click.argument("new")
@directory_option
@production_option
def diff(name: str, old: str, new: str, directory: Path, production: bool | None) -> None:
    """Print what changed in NAME between the effective dates OLD and NEW."""
    by_date = {str(r.effective): r for r in _load(name, directory, _is_production(production))}
    for date in (old, new):
        if date not in by_date:
            raise click.ClickException(f"{name} has no revision of {date}; there are {', '.join(sorted(by_date))}")
    before, after = by_date[old], by_date[new]
    for part in ("values", "rules", "lists"):
        a, b = getattr(before, part), getattr(after, part)
        for key in sorted(set(a) | set(b)):
            was, now = (canonical(x[key]).decode() if key in x else "absent" for x in (a, b))
            if was != now:
                click.echo(f"{key}\n  - {was}\n  + {now}")


@click.group()
def rules() -> None:
    """Read what the clinical rules say."""


@rules.command()
@click.option("--therapy", required=True, type=click.Choice(tuple(THERAPIES)))
@click.option("--case", "case_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Thresholds of that date; the case's own date by default.")
@directory_option
@production_option
def explain(therapy: str, case_file: Path, as_of: dt.datetime | None, directory: Path, production: bool | None) -> None:
    """Evaluate a case file and print the proposal: outcome, each rule with reason and source, what is missing, who
    approved.

    The file is a JSON object with "part" (eligibility, dose, start_gate, ...) and "case". Bad input lists every bad
    field at once.
    """
    try:
        document = json.loads(case_file.read_text(encoding="utf-8"), parse_float=str)
    except ValueError as error:
        raise click.ClickException(f"{case_file.name} is not JSON: {error}") from None
    parts = THERAPIES[therapy].parts()
    if not isinstance(document, dict) or set(document) != {"part", "case"} or document["part"] not in parts:
        raise click.ClickException(f'the file needs "part" (one of {", ".join(parts)}) and "case", and nothing else')
    part = parts[document["part"]]
    case = read_case(part.case, document["case"])
    if isinstance(case, Rejected):
        raise _bad_input(case)
    day = as_of.date() if as_of else case.at.date
    revision = files.as_of(_load(therapy, directory, _is_production(production)), day)
    if revision is None:
        raise click.ClickException(f"no revision of {therapy} is in force on {day}")
    found = part.evaluate(case, revision)
    if isinstance(found, Rejected):
        raise _bad_input(found)
    click.echo(render(found))


def _bad_input(rejected: Rejected) -> click.ClickException:
    lines = (f"  {p.field}: {p.message} [{p.code}]" for p in rejected.problems)
    return click.ClickException("the case cannot be evaluated:\n" + "\n".join(lines))


def render(found: Evaluation[object]) -> str:
    """An evaluation as a clinician reads it."""
    lines = [
        f"{found.part}: {found.outcome.value}   (a proposal; a licensed human decides and signs)",
        f"at {found.at}, thresholds {found.revision}, approved by: {found.approver}",
    ]
    if found.result is not None:
        result = plain(found.result)
        lines += ["", "Result", textwrap.indent(json.dumps(result, indent=2, ensure_ascii=False), "  ")]
    lines += ["", "Rules that fired" if found.findings else "No rule fired"]
    for finding in found.findings:
        lines.append(f"  {finding.outcome.value}  {finding.rule}: {finding.reason}  [{finding.source}]")
        lines += [f"      to do: {finding.action}"] if finding.action else []
        lines += [f"      {i.name} = {i.value}" + (f" at {i.at}" if i.at else "") for i in finding.inputs]
    if found.missing:
        lines += ["", "Missing or not usable"]
        lines += [f"  {problem.field}: {problem.message} [{problem.code}]" for problem in found.missing]
    lines += ["", "Looked at"]
    lines += [f"  {i.name} = {i.value}" + (f" at {i.at}" if i.at else "") for i in found.inputs]
    return "\n".join(lines)


commands: Final[list[click.Command]] = [thresholds, rules]
