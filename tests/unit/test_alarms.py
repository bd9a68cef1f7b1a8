"""What a resolution ends: never what is graver than itself; and what a recheck looks at."""

import datetime as dt
import uuid
from dataclasses import replace

import pytest

from services.session_logging.domain.alarms import Raised, looked_again, resolutions
from services.session_logging.domain.sessions import Entry, Kind

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


@pytest.mark.parametrize(
    ("family", "does", "does_not"),
    [
        ("sbp_high", {"sbp": "150 mm[Hg]"}, {"dbp": "80 mm[Hg]", "spo2": "98 %"}),
        ("dbp_high", {"dbp": "95 mm[Hg]"}, {"sbp": "150 mm[Hg]"}),
        ("heart_rate_low", {"heart_rate": "55 /min"}, {"spo2": "98 %"}),
        ("resp_rate_implausible", {"resp_rate": "14 /min"}, {"heart_rate": "55 /min"}),
        ("moaa_s", {"moaa_s": 0}, {"cadss6": 4}),
        ("bp_gap", {"sbp": "150 mm[Hg]"}, {"spo2": "98 %"}),
        ("bp_implausible", {"sbp": "120 mm[Hg]", "dbp": "80 mm[Hg]"}, {"sbp": "120 mm[Hg]"}),
        ("symptom:nausea", {"symptoms": ["nausea"]}, {"sbp": "120 mm[Hg]"}),
    ],
)
def test_a_recheck_looks_at_what_the_alert_is_about(family: str, does: dict[str, object], does_not: dict[str, object]) -> None:
    alert = raised("AMBER", 0, family)

    def said(kind: str, data: dict[str, object]) -> Entry:
        return Entry(uuid.uuid4(), kind, NOW, NOW, "nurse", data)

    assert looked_again(alert, said(Kind.VITALS, does))
    assert not looked_again(alert, said(Kind.VITALS, does_not))
    assert not looked_again(alert, said(Kind.FACTS, does))
    assert looked_again(alert, said(Kind.SYMPTOMS_OVER, {})) is family.startswith("symptom:")
