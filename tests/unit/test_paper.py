"""Acts from paper among those that are known: what fits is placed in true time, what leads nowhere is refused."""

import datetime as dt
import uuid

import pytest

from services.session_logging.domain.paper import Sheet, fit
from services.session_logging.domain.sessions import Entry

NOW = dt.datetime(2027, 1, 25, 15, 30, tzinfo=dt.UTC)


def known(*acts: tuple[str, float]) -> list[Entry]:
    return [Entry(uuid.uuid4(), kind, at := NOW + dt.timedelta(minutes=minute), at, "nurse") for kind, minute in acts]


def sheet(*acts: tuple[str, float]) -> list[Sheet]:
    return [Sheet(row, kind, NOW + dt.timedelta(minutes=minute)) for row, (kind, minute) in enumerate(acts)]


@pytest.mark.parametrize(
    ("log", "rows", "placed", "refused"),
    [
        # After everything that is known: the session goes on from there.
        ([("start", 0)], [("rate", 3), ("pause", 5), ("resume", 9)], [(0, True), (1, True), (2, True)], {}),
        ([("start", 0)], [("end", 30), ("pause", 5), ("resume", 9)], [(1, True), (2, True), (0, True)], {}),
        # From where the pump stood that was not possible.
        ([("start", 0)], [("resume", 3), ("pause", 5), ("rate", 7)], [(1, True)], dict.fromkeys((0, 2), "illegal-move")),
        ([("start", 0), ("end", 10)], [("rate", 11), ("end", 12)], [], dict.fromkeys((0, 1), "illegal-move")),
        ([("start", 0)], [("rate", -1)], [], {0: "illegal-move"}),
        ([], [("rate", 1), ("pause", 2)], [], dict.fromkeys((0, 1), "illegal-move")),
        # Between what is known: a pause that was over, or another rate, and the session stands where it stands.
        ([("start", 0), ("pause", 20)], [("pause", 5), ("resume", 9), ("rate", 10)], [(0, False), (1, False), (2, False)], {}),
        # What is known to have been done after it would not have been possible; another rate would.
        ([("start", 0), ("pause", 20)], [("pause", 5), ("rate", 3)], [(1, False)], {0: "conflicting"}),
        ([("start", 0), ("rate", 20)], [("end", 5)], [], {0: "conflicting"}),
        ([("start", 0), ("pause", 20)], [("resume", 25), ("pause", 10)], [(0, True)], {1: "conflicting"}),
        ([("start", 0), ("pause", 5), ("resume", 20)], [("resume", 10)], [], {0: "conflicting"}),
        ([("start", 0), ("pause", 5), ("end", 20)], [("resume", 10), ("rate", 12)], [(0, False), (1, False)], {}),
    ],
)  # fmt: skip
def test_acts_from_paper(
    log: list[tuple[str, float]],
    rows: list[tuple[str, float]],
    placed: list[tuple[int, bool]],
    refused: dict[int, str],
) -> None:
    found, wrong = fit(known(*log), sheet(*rows))
    assert [(one.act.row, one.last) for one in found] == placed
    assert wrong == refused
