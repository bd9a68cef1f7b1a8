"""The committed contract is what the models say; what is released stays what it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, create_model

from schemas.asyncapi import HEARTBEAT_HEADER, PARTITIONS, RETENTION_DAYS, channels_of
from schemas.envelope import EventData
from schemas.events import REGISTRY
from schemas.export import Contract, main
from schemas.fields import Code
from schemas.registry import DEAD_LETTERED, EventType, Registry
from schemas.wire import schema_of
from services.runtime.messaging import relay
from services.runtime.settings import KafkaSettings
from tests.support.contract import EVERYTHING, LEDGER, Everything
from tests.support.ledger.events import REGISTRY as WITH_FREE_TEXT

ROOT = Path(__file__).parents[2]


def files(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    """Four types of three owners, written."""
    made = Contract(LEDGER, tmp_path)
    assert made.write() == []
    return made


def changed(contract: Contract, kind: EventType) -> Contract:
    """The same tree under a registry in which one type is another."""
    events = tuple(kind if known.name == kind.name else known for known in contract.registry.events)
    return Contract(Registry(events), contract.root)


def with_field(**fields: Any) -> EventType:
    """EVERYTHING with more fields, described and in the sample."""
    more: type[EventData] = create_model("Everything", __base__=Everything, **fields)
    more.__doc__ = "More.\n\nAttributes:\n" + "\n".join(f"    {name}: what it is." for name in fields)
    values: dict[str, Any] = {**dict(EVERYTHING.sample or ()), **dict.fromkeys(fields, "x")}
    sample = more(**values)
    return replace(EVERYTHING, data=more, sample=sample)


def test_the_committed_files_are_the_contract() -> None:
    assert Contract(REGISTRY, ROOT).check() == []


def test_every_type_gets_its_files_and_writing_again_changes_nothing(contract: Contract) -> None:
    written = files(contract.root)
    assert sorted(written) == sorted([
        "docs/events.md",
        "schemas/asyncapi.json",
        *(f"schemas/json/{kind.short}.json" for kind in LEDGER.events),
        *(f"schemas/samples/{kind.short}.{size}.json" for kind in LEDGER.events for size in ("full", "minimal")),
    ])  # fmt: skip
    assert contract.check() == []
    assert contract.write() == []
    assert files(contract.root) == written


def edit(path: Path) -> None:
    path.write_text(path.read_text("utf-8").replace("2026", "2027", 1), "utf-8")


@pytest.mark.parametrize(
    ("path", "do", "found"),
    [
        ("docs/events.md", edit, "docs/events.md: differs from the models"),
        ("schemas/asyncapi.json", edit, "schemas/asyncapi.json: differs from the models"),
        ("schemas/asyncapi.json", Path.unlink, "schemas/asyncapi.json: is missing"),
        (f"schemas/json/{EVERYTHING.short}.json", Path.unlink, f"schemas/json/{EVERYTHING.short}.json: is missing"),
        (
            f"schemas/samples/{EVERYTHING.short}.full.json",
            edit,
            f"samples/{EVERYTHING.short}.full.json: differs from the models",
        ),
        ("schemas/json/clinic.gone.v1.json", Path.touch, "schemas/json/clinic.gone.v1.json: belongs to no event type"),
        ("schemas/samples/clinic.gone.v1.full.json", Path.touch, "clinic.gone.v1.full.json: belongs to no event type"),
    ],
)
def test_a_file_that_is_not_what_the_models_say_is_named(
    contract: Contract, path: str, do: Callable[[Path], object], found: str
) -> None:
    do(contract.root / path)
    assert len(contract.check()) == 1
    assert found in contract.check()[0]
    assert main([], contract) == 1
    assert main(["--check"], contract) == 1
    assert main(["--write"], contract) == 0
    assert main([], contract) == 0


def test_a_model_that_was_changed_is_noticed_until_it_is_written(contract: Contract) -> None:
    after = changed(contract, with_field(later=(Code | None, None)))
    assert sorted(problem.partition(":")[0] for problem in after.check()) == [
        "docs/events.md",
        "schemas/asyncapi.json",
        f"schemas/json/{EVERYTHING.short}.json",
        f"schemas/samples/{EVERYTHING.short}.full.json",
    ]
    assert after.write() == []
    assert after.check() == []


def test_a_registry_with_free_text_is_not_written(tmp_path: Path) -> None:
    contract = Contract(WITH_FREE_TEXT, tmp_path)
    assert main(["--write"], contract) == 1
    assert "data.padding" in contract.write()[0]
    assert files(tmp_path) == {}


class TestReleased:
    """After ``--release`` a type may only gain."""

    @pytest.fixture
    def released(self, contract: Contract) -> Contract:
        assert main(["--release", EVERYTHING.name], contract) == 0
        return contract

    def test_it_is_frozen_and_the_catalogue_says_so(self, released: Contract) -> None:
        assert released.check() == []
        rows = [line for line in files(released.root)["docs/events.md"].splitlines() if line.startswith("| [")]
        assert {row.split("|")[1].strip().partition("]")[0][1:]: row.split("|")[-2].strip() for row in rows} == {
            kind.short: "released" if kind is EVERYTHING else "draft" for kind in LEDGER.events
        }

    def test_an_addition_is_taken_and_every_sample_ever_released_is_kept(self, released: Contract) -> None:
        kind = with_field(later=(Code | None, None))
        after = changed(released, kind)
        assert after.write() == []
        assert after.check() == []
        frozen = self.frozen(after)
        assert len(frozen["samples"]) == 2
        assert after.release([kind.name]) == []
        refrozen = self.frozen(after)
        assert refrozen["samples"][:2] == frozen["samples"]
        assert len(refrozen["samples"]) == 3
        assert "later" in refrozen["schema"]["properties"]["data"]["properties"]
        # What was added and released is as firm as the rest: the old model is no additive change of it.
        assert [problem for problem in released.check() if "field-removed: /data/later" in problem]

    def frozen(self, contract: Contract) -> dict[str, Any]:
        text = files(contract.root)[f"schemas/released/{EVERYTHING.short}.json"]
        read: dict[str, Any] = json.loads(text)
        return read

    def refused(self, contract: Contract, why: str) -> None:
        before = files(contract.root)
        for attempt in (["--write"], ["--release", EVERYTHING.name], ["--check"]):
            assert main(attempt, contract) == 1
            assert any(why in problem for problem in contract.check()), contract.check()
            assert files(contract.root) == before

    def test_a_change_that_breaks_readers_is_neither_written_nor_released(self, released: Contract) -> None:
        self.refused(changed(released, with_field(later=(Code, ...))), "new-required-field: /data/later")

    def test_a_released_type_stays_in_the_registry(self, released: Contract) -> None:
        rest = tuple(kind for kind in released.registry.events if kind.name != EVERYTHING.name)
        before = files(released.root)
        assert Contract(Registry(rest), released.root).write() == [f"{EVERYTHING.name}: is released and may not go away"]
        assert files(released.root) == before

    def test_the_date_of_release_does_not_move(self, released: Contract) -> None:
        self.refused(changed(released, replace(EVERYTHING, since="2026-11-24")), "was released as of 2026-11-23")

    def test_a_released_sample_is_read_for_ever(self, released: Contract) -> None:
        """A validator shows in no schema; the samples find it out."""

        sample: dict[str, Any] = dict(EVERYTHING.sample or ())

        def never_that_one(value: str) -> str:
            if value == sample["language"]:
                raise ValueError("not any more")
            return value

        strict: type[EventData] = create_model(
            "Everything",
            __base__=Everything,
            __doc__=Everything.__doc__,
            language=(Annotated[Code, AfterValidator(never_that_one)], ...),
        )
        other = strict(**{**sample, "language": "another"})
        found = changed(released, replace(EVERYTHING, data=strict, sample=other)).check()
        assert any("released sample 0 is not read any more" in problem for problem in found), found

    def test_an_unknown_type_is_not_released(self, contract: Contract) -> None:
        assert contract.release(["org.telemed.clinic.gone.v1"]) == ["org.telemed.clinic.gone.v1: no such event type"]


def test_the_document_says_what_the_runtime_does() -> None:
    kafka = KafkaSettings(bootstrap="127.0.0.1:1")
    assert (kafka.partitions, kafka.retention_days, relay.HEARTBEAT_HEADER) == (PARTITIONS, RETENTION_DAYS, HEARTBEAT_HEADER)
    topics = {topic.replace("{prefix}", kafka.topic_prefix): kinds for topic, kinds in channels_of(LEDGER.events).items()}
    assert topics["telemed.dead-letters"] == [DEAD_LETTERED]
    owners = {kind.owner for kinds in topics.values() for kind in kinds} - {"runtime"}
    assert topics.keys() - {"telemed.dead-letters"} == {f"telemed.{owner.replace('_', '-')}.events" for owner in owners}


def test_an_event_that_contains_itself_has_no_schema() -> None:
    with pytest.raises(ValueError, match="contains itself"):
        schema_of(replace(EVERYTHING, data=Tree))


class Tree(EventData):
    """A tree.

    Attributes:
        branches: of it.
    """

    branches: tuple["Tree", ...] = ()
