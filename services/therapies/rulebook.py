"""The signed figures and rules of every programme, loaded once by a process that decides on them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.therapies import thresholds
from services.therapies.evidence import Thresholds
from services.therapies.registry import COMMON, THERAPIES, keys_of

__all__ = ["Rulebook"]


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Every revision of every programme and common rule set, by name, oldest first."""

    revisions: Mapping[str, tuple[Thresholds, ...]]

    @classmethod
    def load(cls, *, production: bool, directory: Path = thresholds.DIRECTORY) -> "Rulebook":
        """Read and verify all files. One that is refused refuses all: no service decides on a part of the rules.

        Raises:
            thresholds.Refused: naming the file and every reason.
        """
        found = {}
        for name in (*THERAPIES, *COMMON):
            known = keys_of(name)
            assert known is not None  # noqa: S101 - the names are those of the registry
            found[name] = thresholds.load_all(name, known, production=production, directory=directory)
        return cls(found)

    def on(self, name: str, day: dt.date) -> Thresholds:
        """The revision of a programme or common rule set that is in force on a day of the clinic.

        Raises:
            LookupError: there is no such name, or none of its revisions has begun.
        """
        revision = thresholds.as_of(self.revisions[name], day)
        if revision is None:
            raise LookupError(f"no revision of {name} is in force on {day.isoformat()}")
        return revision
