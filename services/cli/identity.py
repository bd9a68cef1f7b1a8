"""Signing in from the command line, as the people of the local stack."""

import time

import click

from services.cli.stack.errors import StackError
from services.cli.stack.identity import Keys, issuer_url, people, refuse_in_production
from services.cli.stack.settings import StackSettings
from services.cli.stack.state import Home
from services.runtime.settings import load

__all__ = ["commands"]


@click.command()
@click.option("--as", "login", required=True, metavar="LOGIN", help="Who to be, e.g. nurse.a; `telemed people` lists them.")
@click.option("--hours", type=click.IntRange(1, 12), default=1, show_default=True, help="How long the token is valid.")
@click.pass_obj
def token(home: Home, login: str, hours: int) -> None:
    """Print an access token of the local issuer, signed in just now."""
    refuse_in_production()
    known = people()
    if login not in known:
        raise StackError(f"nobody is called {login}; there are: {', '.join(known)}")
    issuer = issuer_url(load(StackSettings))
    keys = Keys(home.issuer_keys)
    click.echo(keys.token(known[login], issuer, client="command-line", signed_in_at=int(time.time()), lifetime_s=hours * 3600))


@click.command("people")
def list_people() -> None:
    """List who can sign in at the local issuer."""
    for person in people().values():
        click.echo(f"{person.login:15} {person.person}  {', '.join(person.roles):12} {person.name}")


@click.group()
def keys() -> None:
    """The local issuer's signing keys."""


@keys.command()
@click.pass_obj
def rotate(home: Home) -> None:
    """Sign with a new key from now on; tokens of older keys stay valid until they expire."""
    refuse_in_production()
    click.echo(Keys(home.issuer_keys).rotate())


commands: tuple[click.Command, ...] = (token, list_people, keys)
