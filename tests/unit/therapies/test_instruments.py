"""Scoring of every instrument: the published vectors, each boundary, and what no order of answers may change."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.therapies.evidence import Evaluation, Outcome, Rejected
from services.therapies.instruments import (
    QIDS_DOMAINS,
    SHAPES,
    CssrsAnswers,
    ItemText,
    RiskLevel,
    Score,
    change,
    cssrs_screener,
    cssrs_since_last,
    item_text,
    may_measure,
    relapsed,
    score,
)
from tests.support.rules import rules, utc

AT = utc("2027-01-14T20:52")
RULES = rules("instruments")


def scored(instrument: str, answers: list[Any], **extra: Any) -> Evaluation[Score]:
    result = score(instrument, answers, AT, RULES, **extra)
    assert isinstance(result, Evaluation)
    return result


def total_and_band(instrument: str, answers: list[Any], **extra: Any) -> tuple[int | None, str | None]:
    result = scored(instrument, answers, **extra).result
    assert result is not None
    return result.total, result.band


def spread(instrument: str, total: int) -> list[int]:
    """Answers that add up to ``total``, the suicide item last to be used."""
    shape = SHAPES[instrument]
    left = total - shape.items * shape.low
    order = [i for i in range(shape.items) if i + 1 != shape.suicide_item]
    order += [shape.suicide_item - 1] if shape.suicide_item else []
    answers = [shape.low] * shape.items
    for i in order:
        answers[i] += min(left, shape.high - shape.low)
        left -= answers[i] - shape.low
    assert left == 0
    return answers


@pytest.mark.parametrize(
    ("row", "answers", "total", "band", "flag"),
    [
        ("V-Q1", [0] * 9, 0, "minimal", False),
        ("V-Q2", [1, 1, 1, 1, 0, 0, 0, 0, 0], 4, "minimal", False),
        ("V-Q3", [1, 1, 1, 1, 1, 0, 0, 0, 0], 5, "mild", False),
        ("V-Q4", [1] * 9, 9, "mild", True),
        ("V-Q5", [2, 2, 2, 1, 1, 1, 1, 0, 0], 10, "moderate", False),
        ("V-Q8", [3, 3, 3, 2, 2, 2, 2, 2, 0], 19, "moderately severe", False),
        ("V-Q9", [3, 3, 3, 3, 2, 2, 2, 2, 0], 20, "severe", False),
        ("V-Q10", [3] * 9, 27, "severe", True),
        ("V-Q11", [0, 0, 0, 0, 0, 0, 0, 0, 1], 1, "minimal", True),
        ("demo 3", [3, 3, 3, 3, 2, 2, 2, 2, 1], 21, "severe", True),
    ],
)
def test_phq9_vectors(row: str, answers: list[int], total: int, band: str, flag: bool) -> None:
    found = scored("phq9", answers)
    assert total_and_band("phq9", answers) == (total, band), row
    assert ("I-PHQ9-ITEM9" in found.fired()) is flag, row
    assert (found.outcome is Outcome.REVIEW) is flag, row


@pytest.mark.parametrize(
    ("instrument", "starts"),
    [
        ("phq9", {"minimal": 0, "mild": 5, "moderate": 10, "moderately severe": 15, "severe": 20}),
        ("gad7", {"minimal": 0, "mild": 5, "moderate": 10, "severe": 15}),
        ("madrs", {"none": 0, "mild": 7, "moderate": 20, "severe": 35}),
        ("ipss", {"mild": 0, "moderate": 8, "severe": 20}),
        ("stop_bang", {"low": 0, "intermediate": 3, "high": 5}),
    ],
)
def test_every_total_is_in_its_published_band(instrument: str, starts: dict[str, int]) -> None:
    shape = SHAPES[instrument]
    for total in range(shape.items * shape.low, shape.items * shape.high + 1):
        expected = max((start, name) for name, start in starts.items() if start <= total)[1]
        assert total_and_band(instrument, list(spread(instrument, total))) == (total, expected)


@pytest.mark.parametrize(
    ("row", "answers", "algorithm"),
    [
        ("V-Q5", [2, 2, 2, 1, 1, 1, 1, 0, 0], "other"),
        ("five with item 1", [2, 0, 2, 2, 2, 2, 0, 0, 0], "major"),
        ("five without a core item", [1, 1, 2, 2, 2, 2, 2, 0, 0], "none"),
        ("item 9 counts from 1", [2, 2, 2, 2, 0, 0, 0, 0, 1], "major"),
        ("item 8 does not", [2, 2, 2, 2, 0, 0, 0, 1, 0], "other"),
        ("two", [0, 2, 2, 0, 0, 0, 0, 0, 0], "other"),
        ("one", [0, 3, 1, 1, 1, 1, 1, 1, 0], "none"),
    ],
)
def test_phq9_algorithm(row: str, answers: list[int], algorithm: str) -> None:
    result = scored("phq9", answers).result
    assert result is not None
    assert result.algorithm == algorithm, row


@pytest.mark.parametrize(
    ("answers", "total"),
    [
        ([1, 1, 1, 1, 1, 1, 1, None, 0], 8),  # 7 of 8 x 9 = 7.875
        ([None, 2, 2, 2, 2, 2, 2, 1, 0], 15),  # 13 x 9 / 8 = 14.625
        ([None, None, 1, 1, 1, 0, 0, 0, 0], 4),  # 3 x 9 / 7 = 3.857
        ([None, 1, 1, 1, 1, 0, 0, 0, 0], 5),  # 4 x 9 / 8 = 4.5: half goes up
        ([None, None, 0, 0, 0, 0, 0, 0, 0], 0),
    ],
)
def test_phq9_missing_items_are_imputed_by_the_mean_half_up(answers: list[int | None], total: int) -> None:
    result = scored("phq9", answers).result
    assert result is not None
    assert (result.total, result.imputed, result.algorithm) == (total, True, None)


def test_v_q14_three_missing_items_cannot_be_scored() -> None:
    found = scored("phq9", [None, None, None, 1, 1, 1, 1, 1, 0])
    assert found.result is not None
    assert not found.result.scorable
    assert found.result.band is None
    assert found.outcome is Outcome.INCOMPLETE


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=8, max_size=8))
def test_phq9_is_never_scored_without_item_9_and_a_human_sees_it(first_eight: list[int | None]) -> None:
    found = scored("phq9", [*first_eight, None])
    assert found.result is not None
    assert found.result.total is None
    assert "I-PHQ9-ITEM9-MISSING" in found.fired()
    assert found.outcome is Outcome.REVIEW


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=8, max_size=8), st.integers(1, 3))
def test_a_positive_item_9_is_acted_on_whatever_else_is_missing(first_eight: list[int | None], nine: int) -> None:
    assert "I-PHQ9-ITEM9" in scored("phq9", [*first_eight, nine]).fired()


def test_item_10_is_apart_from_the_total() -> None:
    result = scored("phq9", [1] * 8 + [0], difficulty=3).result
    assert result is not None
    assert (result.total, result.difficulty) == (8, 3)


@pytest.mark.parametrize("bad", [4, -1, 1.5, "3 ", "3", True])
def test_v_q16_malformed_answers_are_rejected_all_at_once(bad: object) -> None:
    result = score("phq9", [bad, 0, 0, bad, 0, 0, 0, 0, 0], AT, RULES, difficulty=9)
    assert isinstance(result, Rejected)
    assert [p.field for p in result.problems] == ["answers[0]", "answers[3]", "difficulty"]


@pytest.mark.parametrize("count", [0, 8, 10])
def test_too_few_or_duplicate_items_are_rejected(count: int) -> None:
    assert isinstance(score("phq9", [0] * count, AT, RULES), Rejected)
    assert isinstance(score("phq8", [0] * count, AT, RULES), Rejected)


@pytest.mark.parametrize(
    ("row", "answers", "expected"),
    [
        ("V-Q17", [1, 1, 1, 1, 0, 0, 0], (4, "minimal")),
        ("V-Q17", [1, 1, 1, 1, 1, 0, 0], (5, "mild")),
        ("V-Q19", [2, 2, 2, 2, 2, 2, 2], (14, "moderate")),
        ("V-Q19", [3, 2, 2, 2, 2, 2, 2], (15, "severe")),
    ],
)
def test_gad7_vectors(row: str, answers: list[int], expected: tuple[int, str]) -> None:
    assert total_and_band("gad7", answers) == expected, row


@pytest.mark.parametrize(
    ("row", "answers", "expected"),
    [
        ("V-Q20", [3] * 16, (27, "very severe")),
        ("V-Q22", [2, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], (5, "none")),
        ("V-Q23", [2, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], (6, "mild")),
        ("demo 10", [3, 2, 1, 0, 2, 2, 0, 1, 0, 2, 3, 1, 1, 2, 1, 1], (17, "severe")),
        ("10", [3, 0, 0, 0, 3, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], (10, "mild")),
        ("11", [3, 0, 0, 0, 3, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0], (11, "moderate")),
        ("15", [3, 0, 0, 0, 3, 3, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0], (15, "moderate")),
        ("16", [3, 0, 0, 0, 3, 3, 0, 0, 0, 3, 3, 0, 1, 0, 0, 0], (16, "severe")),
        ("20", [3, 0, 0, 0, 3, 3, 0, 0, 0, 3, 3, 0, 3, 2, 0, 0], (20, "severe")),
        ("21", [3, 0, 0, 0, 3, 3, 0, 0, 0, 3, 3, 0, 3, 3, 0, 0], (21, "very severe")),
    ],
)
def test_qids_vectors(row: str, answers: list[int], expected: tuple[int, str]) -> None:
    assert total_and_band("qids_sr16", answers) == expected, row


@pytest.mark.parametrize("domain", QIDS_DOMAINS)
def test_qids_counts_each_domain_once_by_its_worst_item(domain: tuple[int, ...]) -> None:
    for item in domain:
        answers = [3 if i == item else 0 for i in range(1, 17)]
        assert total_and_band("qids_sr16", answers)[0] == 3
    assert total_and_band("qids_sr16", [2 if i in domain else 0 for i in range(1, 17)])[0] == 2


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (0, None),
        (1, "I-QIDS-ITEM12"),
        (2, "I-QIDS-ITEM12-URGENT"),
        (3, "I-QIDS-ITEM12-URGENT"),
        (None, "I-QIDS-ITEM12-MISSING"),
    ],
)
def test_qids_item_12(answer: int | None, rule: str | None) -> None:
    found = scored("qids_sr16", [0] * 11 + [answer] + [0] * 4)
    assert found.fired() == ((rule,) if rule else ())


@pytest.mark.parametrize(
    ("answer", "rule"), [(2, None), (3, "I-MADRS-ITEM10"), (4, "I-MADRS-ITEM10"), (None, "I-MADRS-ITEM10-MISSING")]
)
def test_madrs_item_10(answer: int | None, rule: str | None) -> None:
    found = scored("madrs", [0] * 9 + [answer])
    assert found.fired() == ((rule,) if rule else ())
    assert found.result is not None
    assert found.result.scorable is (answer is not None)


@pytest.mark.parametrize(
    ("row", "total", "band"),
    [("V-Q26", t, b) for t, b in ((6, "none"), (7, "mild"), (19, "mild"), (20, "moderate"), (34, "moderate"), (35, "severe"))],
)
def test_madrs_bands(row: str, total: int, band: str) -> None:
    assert total_and_band("madrs", list(spread("madrs", total))) == (total, band), row


def test_v_q28_remission_keeps_each_criterion_apart() -> None:
    found = change("madrs", 32, 10, RULES)
    assert found.response is True
    assert found.remission == {"madrs<=10": True, "madrs<10": False, "madrs<=9": False, "madrs<=12": True}
    assert found.percent is not None
    assert str(found.percent) == "68.8"


def test_v_q29_cadss6() -> None:
    assert total_and_band("cadss6", [2, 1, 4, 3, 2, 0]) == (12, None)
    assert isinstance(score("cadss6", [2, 1, 5, 3, 2, 0], AT, RULES), Rejected)
    assert total_and_band("cadss6", [4] * 6)[0] == 24


@pytest.mark.parametrize(
    ("row", "yes", "positive"),
    [
        ("V-Q30 item 1 only", {1}, True),
        ("V-Q30 item 7 only", {7}, True),
        ("two others", {2, 3}, False),
        ("three others", {2, 3, 4}, True),
        ("none", set(), False),
    ],
)
def test_adam(row: str, yes: set[int], positive: bool) -> None:
    result = scored("adam", [int(i in yes) for i in range(1, 11)]).result
    assert result is not None
    assert result.positive is positive, row


def test_qadam_runs_from_10_to_50() -> None:
    assert total_and_band("qadam", [1] * 10) == (10, None)
    assert total_and_band("qadam", [5] * 10) == (50, None)
    assert isinstance(score("qadam", [0] * 10, AT, RULES), Rejected)


@pytest.mark.parametrize(
    ("sex", "answers", "positive"),
    [
        ("female", [1, 1, 0], False),
        ("female", [1, 1, 1], True),
        ("male", [1, 1, 1], False),
        ("male", [2, 1, 1], True),
        (None, [1, 1, 1], True),
    ],
)
def test_audit_c(sex: str | None, answers: list[int], positive: bool) -> None:
    result = scored("audit_c", list(answers), sex_at_birth=sex).result
    assert result is not None
    assert result.positive is positive


@pytest.mark.parametrize(
    ("answers", "total", "band"),
    [
        ([0, 0, 1, 0, 0, 0, 0, 0, 0, 0], 0, "none"),
        ([0] * 10, 1, "low"),
        ([1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 2, "low"),
        ([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], 3, "moderate"),
        ([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], 5, "moderate"),
        ([1, 1, 1, 1, 1, 1, 1, 0, 0, 0], 6, "substantial"),
        ([1, 1, 0, 1, 1, 1, 1, 1, 0, 0], 8, "substantial"),
        ([1, 1, 0, 1, 1, 1, 1, 1, 1, 0], 9, "severe"),
    ],
)
def test_dast10_reverses_item_3(answers: list[int], total: int, band: str) -> None:
    assert total_and_band("dast10", list(answers)) == (total, band)


@pytest.mark.parametrize(("answers", "ready"), [([2, 2, 2, 1, 1], False), ([2, 2, 2, 2, 1], True)])
def test_aldrete(answers: list[int], ready: bool) -> None:
    result = scored("aldrete", list(answers)).result
    assert result is not None
    assert result.positive is ready


@pytest.mark.parametrize("answer", range(6))
def test_moaa_s(answer: int) -> None:
    assert total_and_band("moaa_s", [answer]) == (answer, None)


ORDER_FREE = ["phq9", "gad7", "madrs", "cadss6", "audit_c", "aldrete", "stop_bang", "qadam", "ipss"]


@settings(max_examples=100)
@given(st.data())
def test_a_sum_does_not_depend_on_the_order_of_the_answers(data: st.DataObject) -> None:
    instrument = data.draw(st.sampled_from(ORDER_FREE))
    shape = SHAPES[instrument]
    answers = data.draw(st.lists(st.integers(shape.low, shape.high), min_size=shape.items, max_size=shape.items))
    shuffled = data.draw(st.permutations(answers))
    assert total_and_band(instrument, list(answers)) == total_and_band(instrument, list(shuffled))
    assert total_and_band(instrument, list(answers))[0] == sum(answers)


@pytest.mark.parametrize("instrument", sorted(set(SHAPES) - {"phq9"}))
def test_only_the_phq9_is_ever_imputed(instrument: str) -> None:
    shape = SHAPES[instrument]
    result = scored(instrument, [None] + [shape.low] * (shape.items - 1)).result
    assert result is not None
    assert result.total is None


# --- C-SSRS -----------------------------------------------------------------------------------------------------------


def answers(yes: str = "", no: str = "") -> CssrsAnswers:
    """``answers("1 2", "3 4 5 6")``; ``r`` is "within three months"."""
    names = {str(i): f"q{i}" for i in range(1, 7)} | {"r": "q6_recent"}
    return CssrsAnswers(**{names[k]: True for k in yes.split()}, **{names[k]: False for k in no.split()})


@pytest.mark.parametrize(
    ("row", "yes", "no", "level"),
    [
        ("V-Q32", "", "1 2 6", RiskLevel.NONE),
        ("V-Q32 all", "", "1 2 3 4 5 6", RiskLevel.NONE),
        ("V-Q34", "1 2", "3 4 5 6", RiskLevel.LOW),
        ("Q1 only", "1", "2 6", RiskLevel.LOW),
        ("V-Q35", "2 3", "1 4 5 6", RiskLevel.MODERATE),
        ("lifetime only", "6", "1 2 r", RiskLevel.MODERATE),
        ("V-Q37", "6 r", "1 2 3 4 5", RiskLevel.HIGH),
        ("V-Q38", "2 4", "1 3 5 6", RiskLevel.HIGH),
        ("Q5", "2 5", "1 3 4 6", RiskLevel.HIGH),
        ("HIGH outweighs missing", "4", "", RiskLevel.HIGH),
        ("HIGH though Q2 is no", "5", "1 2 6", RiskLevel.HIGH),
        ("nothing answered", "", "", RiskLevel.INCOMPLETE),
        ("Q6 missing", "", "1 2", RiskLevel.INCOMPLETE),
        ("Q1 missing", "", "2 6", RiskLevel.INCOMPLETE),
        ("Q2 missing", "1", "6", RiskLevel.INCOMPLETE),
        ("Q3 not asked though Q2 yes", "1 2", "4 5 6", RiskLevel.INCOMPLETE),
        ("Q4 missing", "2 3", "1 5 6", RiskLevel.INCOMPLETE),
        ("Q5 missing", "2 3", "1 4 6", RiskLevel.INCOMPLETE),
        ("recency missing", "6", "1 2", RiskLevel.INCOMPLETE),
    ],
)
def test_cssrs_screener(row: str, yes: str, no: str, level: RiskLevel) -> None:
    found = cssrs_screener(answers(yes, no), AT, RULES)
    assert found.result is not None
    assert found.result.level is level, row
    assert found.fired() == (() if level is RiskLevel.NONE else (f"I-CSSRS-{level.value}",))
    assert (found.outcome is Outcome.ROUTINE) is (level is RiskLevel.NONE)


def test_an_incomplete_screen_shows_the_level_already_proven() -> None:
    found = cssrs_screener(answers("2 3", "1 5 6"), AT, RULES)
    assert found.result is not None
    assert found.result.proven is RiskLevel.MODERATE
    assert found.result.unanswered == ("q4",)
    assert "MODERATE" in found.findings[0].reason


@pytest.mark.parametrize(
    ("row", "yes", "no", "level"),
    [
        ("demo 10", "1", "2 6", RiskLevel.LOW),
        ("none", "", "1 2 6", RiskLevel.NONE),
        ("Q3", "2 3", "1 4 5 6", RiskLevel.MODERATE),
        ("Q4", "2 4", "1 3 5 6", RiskLevel.HIGH),
        ("Q5", "2 5", "1 3 4 6", RiskLevel.HIGH),
        ("Q6 without recency is HIGH", "6", "1 2", RiskLevel.HIGH),
        ("Q6 missing", "1", "2", RiskLevel.INCOMPLETE),
        ("Q3 missing", "2", "1 4 5 6", RiskLevel.INCOMPLETE),
    ],
)
def test_cssrs_since_last(row: str, yes: str, no: str, level: RiskLevel) -> None:
    found = cssrs_since_last(answers(yes, no), AT, RULES)
    assert found.result is not None
    assert found.result.level is level, row


maybe = st.sampled_from([True, False, None])
SEVERITY = [RiskLevel.NONE, RiskLevel.LOW, RiskLevel.MODERATE, RiskLevel.HIGH]


@settings(max_examples=200)
@given(
    st.builds(CssrsAnswers, maybe, maybe, maybe, maybe, maybe, maybe, maybe),
    st.sampled_from(list(CssrsAnswers.__slots__)),
)
def test_one_more_yes_never_lowers_what_is_proven(given_: CssrsAnswers, question: str) -> None:
    import dataclasses

    for version in (cssrs_screener, cssrs_since_last):
        before, after = version(given_, AT, RULES), version(dataclasses.replace(given_, **{question: True}), AT, RULES)
        assert before.result is not None
        assert after.result is not None
        assert SEVERITY.index(after.result.proven) >= SEVERITY.index(before.result.proven)
        if given_.q4 or given_.q5:
            assert before.result.level is RiskLevel.HIGH


# --- Change, recall, text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instrument", "baseline", "current", "response", "percent"),
    [
        ("qids_sr16", 17, 9, False, "47.1"),
        ("qids_sr16", 17, 8, True, "52.9"),
        ("madrs", 36, 18, True, "50.0"),
        ("madrs", 36, 19, False, "47.2"),
        ("phq9", 21, 13, False, "38.1"),
        ("phq9", 21, 8, True, "61.9"),
        ("phq9", 21, 25, False, "-19.0"),
    ],
)
def test_response_is_compared_before_rounding(
    instrument: str, baseline: int, current: int, response: bool, percent: str
) -> None:
    found = change(instrument, baseline, current, RULES)
    assert found.response is response
    assert str(found.percent) == percent


@pytest.mark.parametrize(("current", "non_response"), [(14, False), (15, True), (16, True), (25, True)])
def test_non_response_is_at_most_a_quarter(current: int, non_response: bool) -> None:
    assert change("madrs", 20, current, RULES).non_response is non_response


def test_there_is_no_response_from_a_baseline_of_zero() -> None:
    assert change("phq9", 0, 0, RULES).response is None


@given(st.integers(1, 60), st.integers(0, 60))
def test_response_agrees_with_whole_number_arithmetic(baseline: int, current: int) -> None:
    assert change("madrs", baseline, current, RULES).response is (2 * (baseline - current) >= baseline)


@pytest.mark.parametrize(
    ("instrument", "total", "expected"),
    [("phq9", 4, True), ("phq9", 5, False), ("qids_sr16", 5, True), ("qids_sr16", 6, False)],
)
def test_remission_of_the_self_rated_scales(instrument: str, total: int, expected: bool) -> None:
    assert list(change(instrument, 20, total, RULES).remission.values()) == [expected]


@pytest.mark.parametrize(
    ("best", "current", "responding", "flag"), [(4, 9, False, True), (4, 8, False, False), (4, 9, True, False)]
)
def test_relapse_needs_an_important_change_and_lost_response(best: int, current: int, responding: bool, flag: bool) -> None:
    assert relapsed(best, current, responding, RULES) is flag


@pytest.mark.parametrize(
    ("instrument", "elapsed", "allowed"),
    [
        ("phq9", dt.timedelta(hours=24), False),
        ("phq9", dt.timedelta(days=14) - dt.timedelta(seconds=1), False),
        ("phq9", dt.timedelta(days=14), True),
        ("qids_sr16", dt.timedelta(days=6), False),
        ("qids_sr16", dt.timedelta(days=7), True),
        ("cssrs_since_last", dt.timedelta(hours=24), True),
    ],
)
def test_recall_windows(instrument: str, elapsed: dt.timedelta, allowed: bool) -> None:
    assert may_measure(instrument, elapsed, RULES) is allowed


def test_a_clinic_brings_its_own_licensed_text() -> None:
    document: dict[str, object] = {
        "instrument": "moaa_s",
        "language": "en",
        "licence": "contract 7",
        "items": ["Responsiveness"],
    }
    assert item_text(document) == ItemText("moaa_s", "en", "contract 7", ("Responsiveness",))
    refused = item_text({"instrument": "madrs", "items": ["one"]})
    assert isinstance(refused, Rejected)
    assert {p.field for p in refused.problems} == {"language", "licence", "items"}
    assert isinstance(item_text({**document, "instrument": "none"}), Rejected)
