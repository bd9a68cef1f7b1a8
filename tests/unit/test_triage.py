"""How a batch is sorted: what is applied, what is set aside and why, and that only its own aggregate waits."""

from typing import Any
from uuid import UUID

import pytest

from schemas.envelope import Attributes, EventData, Undecodable, attributes_of, headers_of
from schemas.events import EVENTS
from schemas.registry import Registry, event_type
from services.runtime.messaging.cursor import Cursor
from services.runtime.messaging.inbox import Incoming, Park, Position, Triage, replay_topic, triage


class Opened(EventData):
    """Test data."""

    amount: int


OPENED = event_type("shop", "opened", Opened, since="2026-01-01")
FOREIGN = event_type("bank", "opened", Opened, since="2026-01-01")
UNHANDLED = event_type("shop", "closed", Opened, since="2026-01-01")
REGISTRY = Registry((*EVENTS, OPENED, FOREIGN, UNHANDLED))
TOPIC = "p.shop.events"
BODY = """{"specversion":"1.0","id":"%s","source":"%s","type":"%s","time":"2026-01-01T00:00:00Z",
"recordedtime":"2026-01-01T00:00:00Z","partitionkey":"k","sequence":"%010d","epoch":%d,"data":%s}"""


def record(sequence: int, *, source: str = "/shop/a", number: int = 0, **change: Any) -> Incoming:
    event = Attributes(
        UUID(int=number or sequence * 10), change.get("type", OPENED.name), source, change.get("epoch", 1), sequence, "k"
    )
    body = BODY % (event.id, source, event.type, sequence, event.epoch, change.get("data", '{"amount":1}'))
    key, topic = change.get("key", b"k"), change.get("topic", TOPIC)
    return Incoming(topic, 0, change.get("offset", sequence), key, body.encode(), tuple(headers_of(event)))


def known(incoming: Incoming) -> tuple[Incoming, Attributes | Undecodable]:
    try:
        return incoming, attributes_of(incoming.value, incoming.headers)
    except Undecodable as error:
        return incoming, error


def sort_out(*records: Incoming, draining: bool = False, **positions: tuple[Cursor | None, int | None]) -> Triage:
    """Positions by the last letter of their source."""
    return triage(
        map(known, records),
        {f"/shop/{letter}": Position(*position) for letter, position in positions.items()},
        handled=[OPENED.name],
        registry=REGISTRY,
        prefix="p",
        draining=draining,
    )


def cursor(sequence: int, *, epoch: int = 1, number: int = 0) -> Cursor:
    return Cursor(epoch, sequence, UUID(int=number or sequence * 10))


def ready(outcome: Triage) -> list[tuple[str, int]]:
    return [(event.source[-1], event.sequence) for _, event, _ in outcome.ready]


def parks(outcome: Triage) -> list[tuple[int, str, str]]:
    return [(park.attributes.sequence, park.reason, park.error_class) for park in outcome.parks]


def test_a_run_of_events_is_ready_in_order_and_decoded() -> None:
    outcome = sort_out(record(1), record(2), record(3))
    assert ready(outcome) == [("a", 1), ("a", 2), ("a", 3)]
    assert [getattr(event and event.data, "amount", None) for _, _, event in outcome.ready] == [1, 1, 1]
    assert not outcome.parks


def test_what_was_applied_before_is_dropped_before_its_body_is_looked_at() -> None:
    broken = record(2)._replace(value=b"not even json")
    outcome = sort_out(broken, record(3), a=(cursor(2), None))
    assert outcome.duplicates == 1
    assert ready(outcome) == [("a", 3)]


def test_a_copy_in_the_same_batch_is_dropped() -> None:
    outcome = sort_out(record(1), record(1, offset=9), record(2))
    assert ready(outcome) == [("a", 1), ("a", 2)]
    assert outcome.duplicates == 1


def test_an_event_behind_a_gap_waits_until_the_missing_one_has_come() -> None:
    outcome = sort_out(record(3), record(2), record(4), a=(cursor(1), None))
    assert ready(outcome) == [("a", 2)]
    assert parks(outcome) == [(3, "gap", ""), (4, "behind", "")]


def test_an_event_below_a_parked_one_is_applied_and_one_above_it_waits() -> None:
    outcome = sort_out(record(2), record(3, offset=8), record(4), a=(cursor(1), 3))
    assert ready(outcome) == [("a", 2)]
    assert parks(outcome) == [(3, "behind", ""), (4, "behind", "")]


def test_only_the_source_of_a_gap_waits() -> None:
    outcome = sort_out(record(2), record(1, source="/shop/b", number=7))
    assert ready(outcome) == [("b", 1)]
    assert parks(outcome) == [(2, "gap", "")]


def test_draining_tries_a_parked_event_by_the_cursor_alone() -> None:
    assert ready(sort_out(record(3), a=(cursor(2), 4), draining=True)) == [("a", 3)]
    assert parks(sort_out(record(4), a=(cursor(2), None), draining=True)) == [(4, "gap", "")]


def test_draining_never_overtakes_an_earlier_event_that_is_parked() -> None:
    """After a restore the sequences of the new epoch overlap the cursor's: by the cursor alone both 3 and 4 could be applied,
    and 3, whose handler failed, would then pass for a duplicate and be lost."""
    three, four = record(3, epoch=2, number=900), record(4, epoch=2, number=901)
    assert parks(sort_out(four, a=(cursor(5), 3), draining=True)) == [(4, "behind", "")]
    assert ready(sort_out(three, a=(cursor(5), 4), draining=True)) == [("a", 3)]


def test_draining_does_not_wait_for_another_copy_of_the_same_sequence() -> None:
    assert ready(sort_out(record(3), a=(cursor(2), 3), draining=True)) == [("a", 3)]


def test_a_known_sequence_under_another_id_is_a_fork_and_stops_its_source() -> None:
    outcome = sort_out(record(2, number=999), record(3), a=(cursor(2), None))
    assert parks(outcome) == [(2, "fork", ""), (3, "behind", "")]
    assert outcome.parks[0].dead
    assert not outcome.ready


def test_a_fork_inside_one_batch_is_seen_too() -> None:
    outcome = sort_out(record(1), record(2), record(2, number=999), record(3))
    assert ready(outcome) == [("a", 1), ("a", 2)]
    assert parks(outcome) == [(2, "fork", ""), (3, "behind", "")]


def test_a_new_epoch_that_overlaps_is_applied_and_reported() -> None:
    outcome = sort_out(record(3, epoch=2, number=900), record(4, epoch=2, number=901), a=(cursor(5), None))
    assert ready(outcome) == [("a", 3), ("a", 4)]
    assert outcome.rolled_back == {"/shop/a": 3}


def test_an_event_of_the_lost_history_that_comes_late_is_dropped() -> None:
    outcome = sort_out(record(6), a=(cursor(5, epoch=2), None))
    assert outcome.duplicates == 1
    assert not outcome.ready
    assert not outcome.parks


@pytest.mark.parametrize("epoch", [1, 2])
def test_another_major_of_a_known_fact_waits_for_a_deploy_and_blocks_only_its_source(epoch: int) -> None:
    newer = record(2, type=OPENED.name.replace(".v1", ".v2"), epoch=epoch)
    outcome = sort_out(newer, record(3, epoch=epoch), record(1, source="/shop/b", number=7), a=(cursor(1), None))
    assert ready(outcome) == [("b", 1)]
    assert parks(outcome) == [(2, "incompatible", "unknown-major"), (3, "behind", "")]
    assert not outcome.parks[0].dead


def test_a_body_that_does_not_fit_its_type_waits_for_a_deploy() -> None:
    outcome = sort_out(record(1, data="{}"), record(2))
    assert parks(outcome) == [(1, "incompatible", "does-not-fit"), (2, "behind", "")]


def test_a_body_that_contradicts_its_headers_is_not_trusted() -> None:
    forged = record(1)._replace(value=record(1, number=77).value)
    assert parks(sort_out(forged)) == [(1, "incompatible", "mirror-differs")]


def test_a_field_of_a_newer_minor_is_ignored() -> None:
    outcome = sort_out(record(1, data='{"amount":1,"later":{"x":[1]}}'))
    assert ready(outcome) == [("a", 1)]


@pytest.mark.parametrize("name", ["org.telemed.elsewhere.thing.v1", UNHANDLED.name])
def test_a_type_that_nobody_here_handles_only_moves_the_cursor(name: str) -> None:
    outcome = sort_out(record(1, type=name), record(2))
    assert ready(outcome) == [("a", 1), ("a", 2)]
    assert [event is None for _, _, event in outcome.ready] == [True, False]


def test_a_type_on_a_topic_that_is_not_its_own_is_misplaced_and_blocks_nobody() -> None:
    outcome = sort_out(record(1, type=FOREIGN.name), record(1))
    assert [(park.reason, park.error_class) for park in outcome.parks] == [("misplaced", "topic")]
    assert ready(outcome) == [("a", 1)]


def test_the_replay_topic_of_its_owner_is_a_right_place() -> None:
    assert replay_topic(TOPIC) == "p.shop.replay"
    assert ready(sort_out(record(1, topic="p.shop.replay"))) == [("a", 1)]


@pytest.mark.parametrize("key", [None, b"", b"other"])
def test_a_key_other_than_the_partition_key_is_misplaced(key: bytes | None) -> None:
    outcome = sort_out(record(1, key=key), record(1))
    assert [(park.reason, park.error_class) for park in outcome.parks] == [("misplaced", "key")]
    assert ready(outcome) == [("a", 1)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"value": None}, "no-value"),
        ({"value": b"\xff\xfe", "headers": ()}, "not-json"),
        ({"value": b"[1]", "headers": ()}, "not-cloudevents"),
        ({"headers": (("ce_id", b"not an id"),)}, "bad-attribute"),
    ],
)
def test_what_is_not_an_event_of_ours_is_set_aside_under_its_place_in_the_log(change: dict[str, Any], code: str) -> None:
    outcome = sort_out(record(1, offset=42)._replace(**change), record(1))
    (park,) = outcome.parks
    assert (park.reason, park.error_class, park.dead) == ("undecodable", code, True)
    assert park.attributes.source == f"kafka:{TOPIC}/0"
    assert park.attributes.sequence == 42
    assert ready(outcome) == [("a", 1)]


def test_only_what_no_retry_can_help_is_dead_at_once() -> None:
    reasons = ("gap", "behind", "failed", "incompatible", "undecodable", "misplaced", "fork")
    dead = {reason for reason in reasons if Park(record(1), attributes_of(b"", record(1).headers), reason).dead}
    assert dead == {"undecodable", "misplaced", "fork"}
