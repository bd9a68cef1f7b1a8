"""The registry: explicit rows, names with a major version, one topic per owner."""

import pytest

from schemas.envelope import EventData
from schemas.events import EVENTS, REGISTRY
from schemas.registry import DEAD_LETTERED, EventType, Registry, event_type


class Nothing(EventData):
    """No fields."""


def made(owner: str = "follow_up", fact: str = "plan-made", major: int = 1) -> EventType:
    return event_type(owner, fact, Nothing, major=major, since="2026-01-01")


def test_a_row_gives_type_topic_and_schema_their_names() -> None:
    row = made(major=2)
    assert row.name == "org.telemed.follow_up.plan-made.v2"
    assert row.fact == "org.telemed.follow_up.plan-made"
    assert row.topic("clinic") == "clinic.follow-up.events"
    assert row.dataschema == "urn:telemed:schema:follow_up.plan-made.v2"
    assert row.envelope.model_fields["data"].annotation is Nothing


def test_dead_letters_of_all_services_share_one_topic() -> None:
    assert DEAD_LETTERED.topic("clinic") == "clinic.dead-letters"


@pytest.mark.parametrize(
    ("owner", "fact", "major"), [("Follow", "made", 1), ("a-b", "made", 1), ("a", "Made", 1), ("a", "x.y", 1), ("a", "x", 0)]
)
def test_a_name_that_is_not_one_of_ours_is_refused(owner: str, fact: str, major: int) -> None:
    with pytest.raises(ValueError, match="not an event type name"):
        made(owner, fact, major)


def test_a_type_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Registry((made(), made())).get("anything")


def test_another_major_of_a_known_fact_is_told_from_a_type_that_is_simply_unknown() -> None:
    registry = Registry((made(major=2),))
    assert registry.get(made(major=2).name) is not None
    assert registry.get(made(major=1).name) is None
    assert registry.is_other_major(made(major=1).name)
    assert registry.is_other_major(made(major=3).name)
    assert not registry.is_other_major(made(major=2).name)
    assert not registry.is_other_major(made(fact="other").name)


def test_the_types_of_some_owners() -> None:
    registry = Registry((made(), made("clinic"), DEAD_LETTERED))
    assert [row.owner for row in registry.owned_by(["clinic", "runtime"])] == ["clinic", "runtime"]


def test_the_products_own_registry_is_sound() -> None:
    assert REGISTRY.events == EVENTS
    assert REGISTRY.get(DEAD_LETTERED.name) is DEAD_LETTERED
    assert len({row.name for row in EVENTS}) == len(EVENTS)
