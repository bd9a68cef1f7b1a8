"""Who may be the same person, what is known of a case, and what a clinician may decide on what the rules propose."""

import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consultation.domain.cases import Examination, Finding, Known, document, intake_problems
from services.consultation.domain.decisions import Basis, Wanted, objection
from services.consultation.domain.people import Likeness, Patient, Person, likeness, may_be_merged, name_key, unresolved
from services.directory.domain import Qualification, Staff, lacks_to_prescribe
from services.therapies.cases import read_case
from services.therapies.evidence import Outcome
from services.therapies.ketamine.eligibility import EligibilityCase
from services.therapies.semaglutide import EligibilityCase as SemaglutideCase

AT = dt.datetime(2027, 1, 21, 21, 0, tzinfo=dt.UTC)
ADA = Person("Ada", "López-O'Neil", dt.date(1983, 6, 9), "family@example.org", "+12125550123")


def patient(number: int, person: Person = ADA, **changed: object) -> Patient:
    return replace(Patient(UUID(int=number), person, "America/New_York", "en-US", "US-NY"), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Likeness.SAME),
        ({"email": "FAMILY@example.org", "phone": None}, Likeness.SAME),
        ({"email": None}, Likeness.SAME),
        ({"given_name": "ada ", "family_name": "Lopez O Neil"}, Likeness.SAME),
        ({"email": None, "phone": None}, Likeness.POSSIBLE),
        ({"email": "new@example.org", "phone": "+13475550100"}, Likeness.POSSIBLE),
        ({"birth_date": dt.date(1983, 9, 6)}, Likeness.POSSIBLE),
        ({"given_name": "Eva"}, Likeness.POSSIBLE),
        ({"given_name": "Eva", "birth_date": dt.date(2012, 1, 1)}, Likeness.NONE),
        ({"birth_date": dt.date(2012, 1, 1), "email": None, "phone": None}, Likeness.NONE),
        ({"given_name": "Eva", "email": None, "phone": None}, Likeness.NONE),
    ],
)
def test_how_much_two_are_alike(changes: dict[str, object], expected: Likeness) -> None:
    other = replace(ADA, **changes)  # type: ignore[arg-type]
    assert likeness(ADA, other) is expected
    assert likeness(other, ADA) is expected


def test_no_contact_at_all_is_no_contact_in_common() -> None:
    bare = replace(ADA, email=None, phone=None)
    assert likeness(bare, bare) is Likeness.POSSIBLE


def test_a_name_is_compared_without_what_people_write_differently() -> None:
    assert name_key(ADA) == name_key(Person("ADA", "Lopez O’Neil", ADA.birth_date)) == "adalopezoneil"
    assert name_key(Person("Jürgen", "Groß", ADA.birth_date)) == "jurgengross"


def test_whoever_may_be_the_same_has_to_be_looked_at() -> None:
    twin, stranger = patient(1, replace(ADA, given_name="Eva")), patient(2, Person("Bo", "Li", dt.date(1990, 1, 1)))
    assert [one.id for one in unresolved(ADA, [patient(3), twin, stranger], [])] == [UUID(int=3), twin.id]
    assert unresolved(ADA, [twin, stranger], [twin.id]) == []


@pytest.mark.parametrize(
    ("survivor", "duplicate", "why"),
    [
        (patient(1), patient(2), ""),
        (patient(1), patient(2, status="inactive"), ""),
        (patient(1), patient(1), "same-record"),
        (patient(1), patient(2, status="merged"), "not-active"),
        (patient(1), patient(2, status="deceased"), "not-active"),
        (patient(1, status="merged"), patient(2), "not-active"),
        (patient(1, account=UUID(int=8)), patient(2, account=UUID(int=9)), "two-accounts"),
        (patient(1, account=UUID(int=8)), patient(2), ""),
    ],
)
def test_which_records_can_be_made_one(survivor: Patient, duplicate: Patient, why: str) -> None:
    assert may_be_merged(survivor, duplicate) == why


# --- decisions -----------------------------------------------------------------------------------------------------------

REVIEW = Basis(
    UUID(int=5),
    Outcome.REVIEW_REQUIRED,
    (("K-E-HYPERTENSION", Outcome.REVIEW_REQUIRED),),
    fresh=True,
    consent="3",
    examined_at=AT,
    approved=False,
)
CONDITIONS = replace(
    REVIEW, outcome=Outcome.ELIGIBLE_WITH_CONDITIONS, fired=(("K-E-CHILD-PUGH-B", Outcome.ELIGIBLE_WITH_CONDITIONS),)
)
APPROVE = Wanted("approved", "controlled", ())


@pytest.mark.parametrize(
    ("wanted", "basis", "why"),
    [
        (APPROVE, REVIEW, ""),
        (replace(APPROVE, reason=""), REVIEW, "reason-required"),
        (replace(APPROVE, reason=""), replace(REVIEW, outcome=Outcome.ELIGIBLE, fired=()), ""),
        (APPROVE, replace(REVIEW, fresh=False), "evaluation-stale"),
        (APPROVE, replace(REVIEW, outcome=Outcome.INELIGIBLE), "not-approvable"),
        (APPROVE, replace(REVIEW, outcome=Outcome.INCOMPLETE), "not-approvable"),
        (APPROVE, replace(REVIEW, consent=None), "no-consent"),
        (APPROVE, replace(REVIEW, examined_at=None), "not-examined"),
        (replace(APPROVE, conditions=("K-E-AGE",)), REVIEW, "condition-unknown"),
        (replace(APPROVE, conditions=("K-E-HYPERTENSION",)), REVIEW, ""),
        (replace(APPROVE, reason=""), CONDITIONS, "conditions-missing"),
        (Wanted("approved", "", ("K-E-CHILD-PUGH-B",)), CONDITIONS, ""),
        (Wanted("refused", "", ()), REVIEW, ""),
        (Wanted("refused", "", ()), CONDITIONS, "reason-required"),
        (Wanted("deferred", "", ()), replace(REVIEW, outcome=Outcome.ELIGIBLE), "reason-required"),
        (Wanted("refused", "", ()), replace(REVIEW, fresh=False, consent=None), ""),
        (Wanted("revoked", "why", ()), REVIEW, "nothing-to-revoke"),
        (Wanted("revoked", "", ()), replace(REVIEW, approved=True), "reason-required"),
        (Wanted("revoked", "why", ()), replace(REVIEW, approved=True, fresh=False, consent=None), ""),
    ],
)
def test_what_may_be_decided(wanted: Wanted, basis: Basis, why: str) -> None:
    assert objection(wanted, basis) == why


@given(st.sampled_from(Outcome), st.booleans(), st.sampled_from([None, "3"]), st.sampled_from([None, AT]), st.text(max_size=3))
def test_nothing_is_ever_approved_without_consent_examination_and_a_fresh_approvable_proposal(
    outcome: Outcome, fresh: bool, consent: str | None, examined: dt.datetime | None, reason: str
) -> None:
    basis = replace(REVIEW, outcome=outcome, fresh=fresh, consent=consent, examined_at=examined)
    if objection(replace(APPROVE, reason=reason), basis) == "":
        assert fresh
        assert consent
        assert examined
        assert outcome.name in ("ELIGIBLE", "ELIGIBLE_WITH_CONDITIONS", "REVIEW_REQUIRED")


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({}, ""),
        ({"active": False}, "prescriber"),
        ({"roles": frozenset({"nurse"})}, "prescriber"),
        ({"without": "licence"}, "licence"),
        ({"without": "dea"}, "dea"),
        ({"without": "acls"}, "acls"),
        ({"region": "US-NJ"}, "licence"),
        ({"at": AT + dt.timedelta(days=400)}, "licence"),
    ],
)
def test_what_a_signer_has_to_hold(changes: dict[str, Any], lacking: str) -> None:
    held = {
        "licence": Qualification("licence", "US-NY", None, AT - dt.timedelta(days=30), AT + dt.timedelta(days=365)),
        "dea": Qualification("dea", None, UUID(int=4), AT - dt.timedelta(days=30), None),
        "acls": Qualification("acls", None, None, AT - dt.timedelta(days=30), None),
    }
    credentials = tuple(one for kind, one in held.items() if kind != changes.get("without"))
    staff = Staff(UUID(int=3), changes.get("roles", frozenset({"prescriber"})), credentials, changes.get("active", True))
    assert lacks_to_prescribe(staff, changes.get("region", "US-NY"), changes.get("at", AT)) == lacking
    assert lacks_to_prescribe(None, "US-NY", AT) == "prescriber"


# --- the case that the rules are asked about -----------------------------------------------------------------------------


def test_the_newest_of_each_fact_counts_and_only_what_the_therapy_asks_for() -> None:
    known = Known(
        AT,
        "America/New_York",
        dt.date(1983, 6, 9),
        {"primary_diagnosis": "F33.2"},
        (Finding("hcg", "negative", AT), Finding("hcg", "positive", AT - dt.timedelta(days=9))),
        (
            Examination(UUID(int=1), "p", AT, {"weight": "82.0 kg"}),
            Examination(
                UUID(int=2), "p", AT - dt.timedelta(days=9), {"weight": "90 kg", "sbp": "128 mm[Hg]", "dbp": "78 mm[Hg]"}
            ),
        ),
        {"audit_c": 1, "phq9": 21},
        ("LOW", AT),
    )
    found = read_case(EligibilityCase, document(EligibilityCase, known))
    assert isinstance(found, EligibilityCase)
    assert found.hcg is not None
    assert found.weight is not None
    assert (found.hcg.result.value, str(found.weight.value), found.audit_c, found.cssrs) == ("negative", "82.0 kg", 1, "LOW")
    assert [str(one.sbp) for one in found.blood_pressure] == ["128 mm[Hg]"]
    assert "hcg" not in document(SemaglutideCase, known), "another therapy asks otherwise"
    assert isinstance(read_case(SemaglutideCase, document(SemaglutideCase, known)), SemaglutideCase)


def test_an_intake_says_only_what_nobody_else_owns() -> None:
    assert intake_problems(EligibilityCase, {"allergies": [], "ect": False}) == ()
    wrong: dict[str, Any] = {"cssrs": "NONE", "hcg": None, "at": {}, "audit_c": 0, "ect": "no", "x": 1}
    found = {(one.field, one.code) for one in intake_problems(EligibilityCase, wrong)}
    foreign = {(name, "not-of-the-intake") for name in ("cssrs", "hcg", "at", "audit_c")}
    assert found == foreign | {("ect", "invalid"), ("x", "unknown-field")}
