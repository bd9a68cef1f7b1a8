"""How records are cut into transactions: by their events; heartbeats ride along."""

from services.runtime.messaging.consumer import portions
from services.runtime.messaging.inbox import REPLAY_END_HEADER, Incoming
from services.runtime.messaging.relay import HEARTBEAT_HEADER


def _records(kinds: str) -> list[Incoming]:
    """``e`` an event, ``h`` a heartbeat, ``z`` the end of a replay."""
    headers = {"e": [("ce_id", b"1")], "h": [(HEARTBEAT_HEADER, b"1")], "z": [(REPLAY_END_HEADER, b"1")]}
    return [Incoming("t", 0, offset, None, None, headers[kind]) for offset, kind in enumerate(kinds)]


def _cut(kinds: str, size: int) -> list[str]:
    return ["".join(kinds[record.offset] for record in portion) for portion in portions(_records(kinds), size)]


def test_marks_cost_no_transaction_and_stay_behind_the_events_before_them() -> None:
    assert _cut("hhhh", 1) == ["hhhh"]
    assert _cut("hehhezhe", 1) == ["hehh", "ezh", "e"]
    assert _cut("eehehe", 2) == ["eeh", "ehe"]
    assert _cut("eee", 10) == ["eee"]
    assert _cut("", 1) == []
