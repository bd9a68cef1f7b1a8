"""When a one-time link opens something, and when what is sent by it is taken again."""

import datetime as dt
from uuid import UUID

import pytest

from services.follow_up.domain.links import Link, answered, refusal, tried

AT = dt.datetime(2027, 2, 8, 12, tzinfo=dt.UTC)
LINK = Link(b"h", UUID(int=1), UUID(int=2), ("phq9", "gad7"), AT, AT + dt.timedelta(days=7))


def test_a_link_is_used_up_with_its_last_answer_unless_a_screen_is_owed() -> None:
    one = answered(LINK, "phq9", owes_screen=True)
    assert (one.answered, one.status) == (("phq9",), "open")
    both = answered(one, "gad7", owes_screen=True)
    assert both.status == "open"
    assert answered(both, owes_screen=False).status == "used"
    assert answered(one, owes_screen=False).status == "open", "one questionnaire is left"


@pytest.mark.parametrize(
    ("status", "opens", "sends"),
    [("open", "", ""), ("used", "link-not-valid", ""), ("dead", "link-not-valid", "link-not-valid")],
)
def test_a_used_link_opens_nothing_but_takes_what_comes_again(status: str, opens: str, sends: str) -> None:
    link = Link(LINK.token_hash, LINK.id, LINK.patient, LINK.instruments, LINK.made_at, LINK.expires_at, status=status)
    assert (refusal(link, AT), refusal(link, AT, again=True)) == (opens, sends)
    assert refusal(link, link.expires_at, again=True) != ""


def test_the_fifth_wrong_birth_date_ends_a_link() -> None:
    link = LINK
    for _ in range(5):
        assert link.status == "open"
        link = tried(link)
    assert link.status == "dead"
