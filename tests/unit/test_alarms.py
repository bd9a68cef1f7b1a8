"""What a resolution ends: never what is graver than itself."""

import datetime as dt
import uuid
from dataclasses import replace

from services.session_logging.domain.alarms import Raised, resolutions

NOW = dt.datetime(2027, 1, 25, 15, 30, tzinfo=dt.UTC)


def raised(tier: str, minute: int, family: str = "sbp_high") -> Raised:
    at = NOW + dt.timedelta(minutes=minute)
    return Raised(uuid.uuid4(), uuid.UUID(int=1), uuid.UUID(int=2), tier, family, tier, "", "", at, at, False, False)


def resolved(alert: Raised, minute: int) -> Raised:
    return replace(alert, status="resolved", resolved_by="somebody", resolved_at=NOW + dt.timedelta(minutes=minute))


def test_a_nurse_who_closes_the_amber_ends_nothing_of_the_red_above_it() -> None:
    amber, red, other = raised("AMBER", 0), raised("RED", 2), raised("AMBER", 3, "spo2_low")
    closed = [resolved(amber, 5), red, resolved(other, 5)]
    assert resolutions(closed) == [(closed[2], "nurse")], "the other signal's is closed, this one's is not"
    # Before the RED was there, and after a prescriber has closed it.
    early, late = [resolved(amber, 1), red], [resolved(amber, 9), resolved(red, 7)]
    assert resolutions(early) == [(early[0], "nurse")]
    assert resolutions(late) == [(late[0], "nurse"), (late[1], "prescriber")]
    # A STOP above a RED stays, too.
    graver = [resolved(red, 6), raised("STOP", 4)]
    assert resolutions(graver) == []
