"""Writes the public contract out of the registry, and checks that what is committed is what the models say.

``python -m schemas.export`` checks (exit 1 names each file that differs and each rule that is broken), ``--write`` writes
first, ``--release TYPE ...`` freezes types. ``make contracts`` and ``make contracts WRITE=1`` call it.

========================  ==================================================================================================
``json/<type>.json``      JSON Schema of the whole event
``samples/<type>.*``      golden samples: with every field, and with nothing but what every event has
``asyncapi.json``         topics and messages
``../docs/events.md``     the catalogue for people
``released/<type>.json``  not generated: schema and samples of a released type. The models of today must be an additive change
                          of that schema, and read every one of those samples, for ever. Releasing again after an addition
                          takes over the new schema and adds the new samples; it removes none.
========================  ==================================================================================================
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from schemas.asyncapi import document
from schemas.catalogue import catalogue
from schemas.compat import violations
from schemas.envelope import CONTENT_TYPE, Undecodable, decode
from schemas.events import REGISTRY
from schemas.registry import Registry
from schemas.rules import problems
from schemas.wire import Schema, samples_of, schema_of

__all__ = ["Contract", "main"]


class Contract:
    """The files of a registry in a tree.

    Attributes:
        registry: what is published.
        root: folder that holds ``schemas`` and ``docs``.
    """

    def __init__(self, registry: Registry, root: Path) -> None:
        self.registry = registry
        self.root = root

    def check(self) -> list[str]:
        """What is wrong; empty when the committed files are the contract and the contract keeps its promises."""
        return self._unsound() or [*self._broken_promises(), *self._stale()]

    def write(self) -> list[str]:
        """Write the generated files, unless that would break a rule. Returns what is wrong."""
        if found := self._unsound() or self._broken_promises():
            return found
        wanted = self._generated()
        for path in self._present() - wanted.keys():
            path.unlink()
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return []

    def release(self, names: Sequence[str]) -> list[str]:
        """Freeze these types as they are now, then write. Returns what is wrong; then nothing was frozen."""
        if unknown := [f"{name}: no such event type" for name in names if self.registry.get(name) is None]:
            return unknown
        if found := self._unsound() or self._broken_promises():
            return found
        for kind in self.registry.events:
            if kind.name in names:
                path = self._released(kind.short)
                samples = self._read(path)["samples"] if path.exists() else []
                samples += [sample for sample in samples_of(kind).values() if sample not in samples]
                path.parent.mkdir(parents=True, exist_ok=True)
                frozen = {"type": kind.name, "since": kind.since, "samples": samples, "schema": schema_of(kind)}
                path.write_text(_json(frozen), encoding="utf-8")
        return self.write()

    def _unsound(self) -> list[str]:
        return [f"{kind.name}: {problem}" for kind in self.registry.events for problem in problems(kind)]

    def _broken_promises(self) -> list[str]:
        found = []
        for path in sorted((self.root / "schemas" / "released").glob("*.json")):
            frozen = self._read(path)
            kind = self.registry.get(frozen["type"])
            if kind is None:
                found.append(f"{frozen['type']}: is released and may not go away")
                continue
            if kind.since != frozen["since"]:
                found.append(f"{kind.name}: was released as of {frozen['since']}, not {kind.since}")
            found += [f"{kind.name}: {violation}" for violation in violations(frozen["schema"], schema_of(kind))]
            for number, sample in enumerate(frozen["samples"]):
                try:
                    decode(kind.envelope, json.dumps(sample).encode(), [("content-type", CONTENT_TYPE)])
                except Undecodable as error:
                    found.append(f"{kind.name}: released sample {number} is not read any more ({error.code})")
        return found

    def _stale(self) -> list[str]:
        wanted, present = self._generated(), self._present()
        missing = [f"{self._named(path)}: is missing" for path in wanted.keys() - present]
        orphans = [f"{self._named(path)}: belongs to no event type" for path in present - wanted.keys()]
        differing = [
            f"{self._named(path)}: differs from the models"
            for path, text in wanted.items()
            if path in present and path.read_text(encoding="utf-8") != text
        ]
        return sorted([*missing, *orphans, *differing])

    def _generated(self) -> dict[Path, str]:
        schemas, events = self.root / "schemas", self.registry.events
        released = [kind.name for kind in events if self._released(kind.short).exists()]
        return {
            **{schemas / "json" / f"{kind.short}.json": _json(schema_of(kind)) for kind in events},
            **{
                schemas / "samples" / f"{kind.short}.{size}.json": _json(sample)
                for kind in events
                for size, sample in samples_of(kind).items()
            },
            schemas / "asyncapi.json": _json(document(events, self._version())),
            self.root / "docs" / "events.md": catalogue(events, released),
        }

    def _present(self) -> set[Path]:
        schemas = self.root / "schemas"
        found = {
            *schemas.glob("json/*"),
            *schemas.glob("samples/*"),
            schemas / "asyncapi.json",
            self.root / "docs" / "events.md",
        }
        return {path for path in found if path.is_file()}

    def _released(self, short: str) -> Path:
        return self.root / "schemas" / "released" / f"{short}.json"

    def _read(self, path: Path) -> Schema:
        frozen: Schema = json.loads(path.read_text(encoding="utf-8"))
        return frozen

    def _named(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _version(self) -> str:
        project = self.root / "pyproject.toml"
        if project.exists():
            declared: dict[str, Any] = tomllib.loads(project.read_text(encoding="utf-8"))
            return str(declared["project"]["version"])
        return version("telemed")


def _json(value: Schema) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None, contract: Contract | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m schemas.export", description="The public event contract.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare what is committed with the models (the default)")
    what.add_argument("--write", action="store_true", help="write the generated files, then check")
    what.add_argument("--release", nargs="+", metavar="TYPE", help="freeze these event types as they are, write, then check")
    chosen = parser.parse_args(arguments)
    contract = contract or Contract(REGISTRY, Path(__file__).parent.parent)
    found = contract.release(chosen.release) if chosen.release else contract.write() if chosen.write else []
    found = found or contract.check()
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        print("The event contract is broken. After a change that is meant: make contracts WRITE=1", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
