"""The signed figures and rules of every programme, read once by a process that decides on them."""

import datetime as dt
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from services.therapies import thresholds
from services.therapies.evidence import Thresholds
from services.therapies.registry import COMMON, THERAPIES, keys_of

__all__ = ["Rulebook"]


class Rulebook:
    """Every revision of every programme and common rule set. Read and verified when first asked; a service asks at its start.

    Args:
        production: whether the development key is refused.
        directory: where the files are.
    """

    def __init__(self, *, production: Callable[[], bool], directory: Path = thresholds.DIRECTORY) -> None:
        self._production = production
        self._directory = directory

    @cached_property
    def revisions(self) -> Mapping[str, tuple[Thresholds, ...]]:
        """By name, oldest first. One file that is refused refuses all: nobody decides on a part of the rules.

        Raises:
            thresholds.Refused: naming the file and every reason.
        """
        found = {}
        for name in (*THERAPIES, *COMMON):
            known = keys_of(name)
            assert known is not None  # noqa: S101 - the names are those of the registry
            found[name] = thresholds.load_all(name, known, production=self._production(), directory=self._directory)
        return found

    def on(self, name: str, day: dt.date) -> Thresholds:
        """The revision of a programme or common rule set that is in force on a day of the clinic.

        Raises:
            thresholds.Refused: see ``revisions``.
            LookupError: there is no such name, or none of its revisions has begun.
        """
        revision = thresholds.as_of(self.revisions[name], day)
        if revision is None:
            raise LookupError(f"no revision of {name} is in force on {day.isoformat()}")
        return revision
