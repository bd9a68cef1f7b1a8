"""``merge_rows``: many decisions, one write per row, and nothing that the database would have refused slips through."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.messaging.changes import Append, Put, Remove, Row, RowChange, merge_rows


def row(key: str, expected: int, **values: Any) -> Row:
    return Row("account", {"id": key}, values, expected)


def test_a_row_steps_one_version_unless_told_otherwise() -> None:
    assert row("a", 4).version == 5


def test_a_chain_of_versions_becomes_one_step_with_the_last_values() -> None:
    merged = merge_rows([row("a", 1, x=1, y=1), row("a", 2, x=2), row("a", 3, z=3)])
    assert merged == [Row("account", {"id": "a"}, {"x": 2, "y": 1, "z": 3}, 1, 4)]


def test_a_new_row_and_its_next_version_become_one_insert() -> None:
    assert merge_rows([row("a", 0, x=1), row("a", 1, x=2)]) == [Row("account", {"id": "a"}, {"x": 2}, 0, 2)]


def test_a_chain_that_does_not_fit_is_left_for_the_database_to_refuse() -> None:
    broken = [row("a", 1, x=1), row("a", 1, x=2)]
    assert merge_rows(broken) == broken


def test_rows_of_other_keys_and_tables_stay_apart() -> None:
    rows = [row("a", 1), row("b", 1), Row("other", {"id": "a"}, {}, 2)]
    assert merge_rows(rows) == rows


def test_the_order_of_key_columns_does_not_matter() -> None:
    first = Put("t", {"a": 1, "b": 2}, {"x": 1})
    assert merge_rows([first, Put("t", {"b": 2, "a": 1}, {"x": 2})]) == [Put("t", {"a": 1, "b": 2}, {"x": 2})]


def test_appended_rows_are_all_kept() -> None:
    rows = [Append("effect", {"n": 1}), Append("effect", {"n": 1})]
    assert merge_rows(rows) == rows


def test_a_removed_row_that_is_put_again_keeps_its_order() -> None:
    rows: list[RowChange] = [Put("t", {"k": 1}, {"x": 1}), Remove("t", {"k": 1}), Put("t", {"k": 1}, {"y": 2})]
    assert merge_rows(rows) == rows


keys = st.sampled_from(["a", "b", "c"])
steps = st.one_of(
    st.tuples(st.just("row"), keys, st.integers(0, 3)),
    st.tuples(st.just("put"), keys, st.integers(0, 3)),
    st.tuples(st.just("remove"), keys, st.just(0)),
    st.tuples(st.just("append"), keys, st.integers(0, 3)),
)


def written(rows: list[RowChange]) -> tuple[Any, ...]:
    """What a database would hold after these writes, one after the other; or that it refuses one."""
    versions = {"a": 1, "b": 0}
    values: dict[str, dict[str, Any]] = {"a": {}}
    facts: dict[Any, dict[str, Any]] = {}
    appended = []
    for change in rows:
        if isinstance(change, Append):
            appended.append(dict(change.values))
            continue
        key = change.key["id"]
        if isinstance(change, Row):
            if versions.get(key, 0) != change.expected:
                return ("refused",)
            versions[key] = change.version
            values.setdefault(key, {}).update(change.values)
        elif isinstance(change, Put):
            facts.setdefault(key, {}).update(change.values)
        else:
            facts.pop(key, None)
    return versions, values, facts, appended


@settings(deadline=None, max_examples=300)
@given(st.lists(steps, max_size=12))
def test_merged_writes_leave_what_the_single_writes_leave(plan: list[tuple[str, str, int]]) -> None:
    rows: list[RowChange] = []
    for position, (what, key, number) in enumerate(plan):
        value = {f"c{position % 3}": position}
        choices: dict[str, RowChange] = {
            "row": Row("account", {"id": key}, value, number),
            "put": Put("fact", {"id": key}, value),
            "remove": Remove("fact", {"id": key}),
            "append": Append("effect", {"id": key, **value}),
        }
        rows.append(choices[what])
    assert written(merge_rows(rows)) == written(rows)
