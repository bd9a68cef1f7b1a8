"""What may change in a released event: nothing but additions that an old reader ignores and an old event lacks.

Readers validate what they know, so a value outside an old bound, or a new member of a closed list, would be set aside by a
consumer that has not been updated. Hence the range of every existing field stays exactly as it is, in both directions:

- every event that was valid before is read by the new model, and
- every new event, cut down to what all of them have, is read by the old model.

What is allowed: a new optional field, in the data or in any object inside it; a new known word of an open code
(``x-known``); other descriptions. Everything else is a new major version, published beside the old one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

__all__ = ["Rule", "Violation", "violations"]

Schema = dict[str, Any]


class Rule(StrEnum):
    """Why a change is refused."""

    FIELD_REMOVED = "field-removed"
    FIELD_ADDED_REQUIRED = "new-required-field"
    BECAME_REQUIRED = "optional-became-required"
    BECAME_OPTIONAL = "required-became-optional"
    TYPE_CHANGED = "type-changed"
    BOUND_NARROWED = "bound-narrowed"
    BOUND_WIDENED = "bound-widened"
    PATTERN_CHANGED = "pattern-changed"
    FORMAT_CHANGED = "format-changed"
    MEMBER_REMOVED = "enum-member-removed"
    MEMBER_ADDED = "enum-member-added"
    CONSTANT_CHANGED = "constant-changed"
    UNIT_CHANGED = "unit-changed"
    KIND_CHANGED = "kind-changed"
    DEFAULT_CHANGED = "default-changed"
    NULL_REMOVED = "null-removed"
    NULL_ADDED = "null-added"
    VARIANT_REMOVED = "variant-removed"
    VARIANT_ADDED = "variant-added"
    CLOSED = "closed-to-more-fields"
    OTHERWISE = "changed-otherwise"
    """A keyword that no rule knows differs: refused until somebody has thought about it."""


@dataclass(frozen=True)
class Violation:
    """One refused change.

    Attributes:
        rule: which rule refuses it.
        where: JSON pointer into an event.
        what: the change, in words.
    """

    rule: Rule
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where or '/'}: {self.what}"


_SAYS_NOTHING: Final = frozenset({"$schema", "$comment", "title", "description", "examples", "deprecated", "x-data-class"})
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_SAME: Final = {
    "pattern": Rule.PATTERN_CHANGED,
    "format": Rule.FORMAT_CHANGED,
    "const": Rule.CONSTANT_CHANGED,
    "$id": Rule.CONSTANT_CHANGED,
    "x-unit": Rule.UNIT_CHANGED,
    "x-kind": Rule.KIND_CHANGED,
    "default": Rule.DEFAULT_CHANGED,
}
_HANDLED: Final = frozenset({
    *_LOWER, *_UPPER, *_SAME, "type", "enum", "x-known", "anyOf", "oneOf", "properties", "required", "items",
    "additionalProperties",
})  # fmt: skip


def violations(old: Schema, new: Schema) -> list[Violation]:
    """What the change from one schema of an event type to another breaks; empty if it only adds."""
    return list(_compare(old, new, ""))


def _compare(old: Schema, new: Schema, at: str) -> Iterator[Violation]:
    old_branches, old_null = _without_null(old)
    new_branches, new_null = _without_null(new)
    if old_null and not new_null:
        yield Violation(Rule.NULL_REMOVED, at, "was allowed to be null")
    if new_null and not old_null:
        yield Violation(Rule.NULL_ADDED, at, "may be null now")
    if len(old_branches) == len(new_branches) == 1:
        yield from _compare_one(old_branches[0], new_branches[0], at)
    else:
        yield from _compare_variants(old_branches, new_branches, at)


def _without_null(schema: Schema) -> tuple[list[Schema], bool]:
    """The branches of a union (a plain schema is one branch) and whether one of them was null."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            beside = {name: value for name, value in schema.items() if name != key}
            branches = [branch for branch in schema[key] if branch != {"type": "null"}]
            return [{**branch, **beside} for branch in branches], len(branches) < len(schema[key])
    kind = schema.get("type")
    if isinstance(kind, list):
        rest = [name for name in kind if name != "null"]
        return [{**schema, "type": rest[0] if len(rest) == 1 else rest}], len(rest) < len(kind)
    return [schema], False


def _compare_variants(old: list[Schema], new: list[Schema], at: str) -> Iterator[Violation]:
    left = list(new)
    for branch in old:
        same = next((candidate for candidate in left if not violations(branch, candidate)), None)
        if same is None:
            yield Violation(Rule.VARIANT_REMOVED, at, f"{_named(branch)} is gone or changed")
        else:
            left.remove(same)
    for branch in left:
        yield Violation(Rule.VARIANT_ADDED, at, f"{_named(branch)} is new or changed")


def _named(schema: Schema) -> str:
    return str(schema.get("title") or schema.get("x-kind") or schema.get("format") or schema.get("type"))


def _compare_one(old: Schema, new: Schema, at: str) -> Iterator[Violation]:
    if old.get("type") != new.get("type"):
        yield Violation(Rule.TYPE_CHANGED, at, f"was {old.get('type')}, is {new.get('type')}")
        return
    for keyword, rule in _SAME.items():
        if old.get(keyword) != new.get(keyword):
            yield Violation(rule, at, f"{keyword} was {old.get(keyword)!r}, is {new.get(keyword)!r}")
    yield from _compare_members(old, new, at)
    yield from _compare_bounds(old, new, at)
    yield from _compare_fields(old, new, at)
    if "items" in old and "items" in new:
        yield from _compare(old["items"], new["items"], f"{at}/-")
    elif ("items" in old) != ("items" in new):
        yield Violation(Rule.OTHERWISE, at, "the items of the list")
    yield from _compare_rest(old, new, at)


def _compare_members(old: Schema, new: Schema, at: str) -> Iterator[Violation]:
    # A list that was not there allowed everything, so its appearance takes members away and its end adds some.
    before, after = old.get("enum"), new.get("enum")
    if after is not None and (before is None or set(before) - set(after)):
        gone = sorted(map(str, set(before or ()) - set(after))) or "everything else"
        yield Violation(Rule.MEMBER_REMOVED, at, f"not allowed any more: {gone}")
    if before is not None and (after is None or set(after) - set(before)):
        added = sorted(map(str, set(after or ()) - set(before))) or "anything"
        yield Violation(Rule.MEMBER_ADDED, at, f"allowed now in a closed list: {added}")
    unknown = set(old.get("x-known", ())) - set(new.get("x-known", ()))
    if unknown:
        yield Violation(Rule.MEMBER_REMOVED, at, f"words without a meaning now: {sorted(unknown)}")


def _compare_bounds(old: Schema, new: Schema, at: str) -> Iterator[Violation]:
    for keywords, sign in ((_LOWER, 1), (_UPPER, -1)):
        for keyword in keywords:
            before, after = old.get(keyword), new.get(keyword)
            if before == after:
                continue
            tighter = before is None or (after is not None and (after - before) * sign > 0)
            rule = Rule.BOUND_NARROWED if tighter else Rule.BOUND_WIDENED
            yield Violation(rule, at, f"{keyword} was {before}, is {after}")


def _compare_fields(old: Schema, new: Schema, at: str) -> Iterator[Violation]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed, needs = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(before.keys() - after.keys()):
        yield Violation(Rule.FIELD_REMOVED, f"{at}/{name}", "is gone")
    for name in sorted((after.keys() - before.keys()) & needs):
        yield Violation(Rule.FIELD_ADDED_REQUIRED, f"{at}/{name}", "is new and required: no older event has it")
    for name in sorted(before.keys() & after.keys()):
        if name in needs - needed:
            yield Violation(Rule.BECAME_REQUIRED, f"{at}/{name}", "was optional: an older event may lack it")
        if name in needed - needs:
            yield Violation(Rule.BECAME_OPTIONAL, f"{at}/{name}", "was required: an older reader insists on it")
        yield from _compare(before[name], after[name], f"{at}/{name}")


def _compare_rest(old: Schema, new: Schema, at: str) -> Iterator[Violation]:
    before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _compare(before, after, f"{at}/*")
    elif before != after:
        yield Violation(Rule.CLOSED if before is True else Rule.OTHERWISE, at, "fields that are not named")
    for keyword in sorted((old.keys() | new.keys()) - _HANDLED - _SAYS_NOTHING):
        if old.get(keyword) != new.get(keyword):
            yield Violation(Rule.OTHERWISE, at, f"{keyword} was {old.get(keyword)!r}, is {new.get(keyword)!r}")
