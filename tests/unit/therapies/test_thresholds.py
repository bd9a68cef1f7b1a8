"""Signed threshold files and the commands over them: what is refused, what is shown, and replay under
an old revision.
"""

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.cli.rules import commands
from services.therapies.evidence import TAGS, Outcome, Thresholds, canonical
from services.therapies.ketamine.eligibility import eligibility
from services.therapies.registry import COMMON, THERAPIES, keys_of
from services.therapies.thresholds import DIRECTORY, Refused, as_of, load, load_all, sign, trusted_keys
from tests.support.ketamine_cases import bp, eligible

NAMES = (*THERAPIES, *COMMON)
DAY = "2026-11-23"
KEY = DIRECTORY / "keys" / "development.private.pem"
KNOWN = THERAPIES["ketamine"].keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped files."""
    target = tmp_path / "thresholds"
    shutil.copytree(DIRECTORY, target)
    return target


def ketamine(folder: Path, day: str = DAY) -> Path:
    return folder / "ketamine" / f"{day}.toml"


def edit(path: Path, old: str, new: str, *, resign: bool = True) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    if resign:
        sign(path, KEY.read_bytes())
    return path


def refusal(path: Path, *, production: bool = False) -> str:
    with pytest.raises(Refused) as caught:
        load(path, KNOWN, production=production)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_file_is_signed_complete_and_not_approved(name: str) -> None:
    known = keys_of(name)
    assert known is not None
    for revision in load_all(name, known, production=False):
        assert revision.approver == "NOT APPROVED"
        assert revision.signed_by == "development"
        assert all(t.source and t.tag in TAGS for t in revision.values.values())


def test_the_development_key_is_refused_in_production() -> None:
    assert "development key" in refusal(ketamine(DIRECTORY), production=True)


def test_the_development_key_is_refused_by_its_bytes_not_its_name(folder: Path) -> None:
    (folder / "keys" / "development.pub.pem").rename(folder / "keys" / "director.pub.pem")
    assert "development key" in refusal(ketamine(folder), production=True)


def test_an_unsigned_file_is_refused(folder: Path) -> None:
    Path(f"{ketamine(folder)}.sig").unlink()
    assert "not signed" in refusal(ketamine(folder))


@pytest.mark.parametrize(
    ("old", "new"),
    [('value = "160"', 'value = "170"'), ('comparison = ">="', 'comparison = ">"'), ("NOT APPROVED", "Dr. No")],
)
def test_an_altered_file_is_refused(folder: Path, old: str, new: str) -> None:
    assert "altered" in refusal(edit(ketamine(folder), old, new, resign=False))


def test_a_comment_or_a_space_does_not_break_the_signature(folder: Path) -> None:
    path = ketamine(folder)
    path.write_text("# a comment\n\n" + path.read_text())
    assert load(path, KNOWN, production=False).revision == load(ketamine(DIRECTORY), KNOWN, production=False).revision


def test_an_unknown_key_is_refused(folder: Path) -> None:
    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    sign(ketamine(folder), private)
    assert "unknown key" in refusal(ketamine(folder))


def test_a_clinics_own_key_is_accepted_in_production(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (folder / "keys" / "director.pub.pem").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    sign(ketamine(folder), pem)
    found = load(ketamine(folder), KNOWN, production=True)
    assert found.signed_by == "director"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"start.sbp.pass"', '"start.sbp.passs"', "is not known"),
        ('"start.sbp.pass"', '"start.sbp.passs"', "'start.sbp.pass' is missing"),
        ('value = "0.5", unit = "mg/kg"', 'value = "0.5", unit = "mg"', "must be in mg/kg"),
        ('value = "0.5", unit = "mg/kg"', 'value = "half", unit = "mg/kg"', "plain decimal"),
        ('value = "0.5", unit = "mg/kg"', 'value = 0.5, unit = "mg/kg"', "write numbers as text"),
        ('comparison = ">="', 'comparison = "about"', "unknown comparison"),
        ('tag = "read"', 'tag = "trust me"', "one of the tags"),
        ('source = "Fava 2018: lowest studied dose", ', "", "must have"),
        ('"K-E-ANEURYSM"', '"K-E-OTHER"', ""),
        ('question = "aneurysm_or_avm"', 'question = "horoscope"', "asks about no fact"),
        ('outcome = "INELIGIBLE"', 'outcome = "MAYBE"', "unknown outcome"),
        ('"drugs.pressor"', '"drugs.press"', "is not known"),
        ('approver = "NOT APPROVED"', 'approver = "NOT APPROVED"\nnote = "x"', "head must be"),
        ("effective = 2026-11-23", "effective = 2026-11-24", "not those of its path"),
        ("effective = 2026-11-23", "effective = ", "cannot be read"),
    ],
)
def test_a_wrong_entry_refuses_the_whole_file(folder: Path, old: str, new: str, reason: str) -> None:
    path = ketamine(folder)
    path.write_text(path.read_text().replace(old, new, 1))
    if reason in ("write numbers as text", "cannot be read"):
        assert reason in refusal(path)
        return
    sign(path, KEY.read_bytes())
    if not reason:
        # A yes/no rule may be renamed or added: its id is the director's, its question is what the code knows.
        assert "K-E-OTHER" in load(path, KNOWN, production=False).rules
        return
    assert reason in refusal(path)


def test_a_key_that_cannot_sign(folder: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        sign(ketamine(folder), b"not a key")
    Path(f"{ketamine(folder)}.sig").write_text("!!")
    assert "cannot be read" in refusal(ketamine(folder))
    (folder / "keys" / "bad.pub.pem").write_bytes(b"")
    with pytest.raises(Refused, match="cannot be read"):
        trusted_keys(folder)
    with pytest.raises(Refused, match="no threshold file"):
        load_all("nothing", KNOWN, production=False, directory=folder)


# --- Revisions --------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(folder: Path) -> tuple[Thresholds, ...]:
    """The shipped revision, and a future one with a lower limit for uncontrolled pressure."""
    later = ketamine(folder, "2027-06-01")
    later.write_text(
        ketamine(folder)
        .read_text()
        .replace("effective = 2026-11-23", "effective = 2027-06-01")
        .replace('"pressure.sbp.uncontrolled" = { value = "160"', '"pressure.sbp.uncontrolled" = { value = "150"')
    )
    sign(later, KEY.read_bytes())
    return load_all("ketamine", KNOWN, production=False, directory=folder)


def test_a_future_revision_is_loaded_and_unused_until_its_day(two: tuple[Thresholds, ...]) -> None:
    assert len(two) == 2
    for day, expected in (
        ("2026-11-22", None),
        ("2026-11-23", two[0]),
        ("2027-05-31", two[0]),
        ("2027-06-01", two[1]),
        ("2030-01-01", two[1]),
    ):
        assert as_of(two, dt.date.fromisoformat(day)) is expected


def test_old_decisions_re_evaluate_under_their_own_revision(two: tuple[Thresholds, ...]) -> None:
    case = eligible(blood_pressure=(bp(155, 80), bp(155, 80, eligible().at.at - dt.timedelta(hours=1))))
    then = eligibility(case, two[0])
    assert then.outcome is Outcome.REVIEW_REQUIRED
    assert eligibility(case, two[1]).outcome is Outcome.INELIGIBLE
    assert canonical(eligibility(case, next(r for r in two if r.revision == then.revision))) == canonical(then)
    assert two[0].revision != two[1].revision


# --- Commands ---------------------------------------------------------------------------------------------------------


def run(*arguments: object, env: str = "local") -> Result:
    group = click.Group(commands=commands)
    return CliRunner().invoke(group, [str(a) for a in arguments], env={"TELEMED_ENV": env})


def test_verify_lists_every_file_and_production_refuses_them() -> None:
    found = run("thresholds", "verify")
    assert found.exit_code == 0
    assert all(f"{name}/{DAY}" in found.output for name in NAMES)
    assert "NOT APPROVED" in found.output
    refused = run("thresholds", "verify", env="")
    assert refused.exit_code == 1
    assert "development key" in refused.output
    assert run("thresholds", "verify", "--production").exit_code == 1


def test_show_and_diff(folder: Path, two: tuple[Thresholds, ...]) -> None:
    shown = run("thresholds", "show", "ketamine", "--as-of", "2027-06-01", "--directory", folder)
    assert two[1].revision in shown.output
    assert "pressure.sbp.uncontrolled  >= 150 mm[Hg]" in shown.output
    assert run("thresholds", "show", "ketamine", "--as-of", "2020-01-01").exit_code == 1
    changed = run("thresholds", "diff", "ketamine", DAY, "2027-06-01", "--directory", folder)
    assert changed.output.count("\n  - ") == 1
    assert "150 mm[Hg]" in changed.output
    assert run("thresholds", "diff", "ketamine", DAY, "2028-01-01").exit_code == 1


def test_sign_makes_an_altered_file_valid_again(folder: Path) -> None:
    path = edit(ketamine(folder), 'value = "160"', 'value = "161"', resign=False)
    assert "altered" in refusal(path)
    assert run("thresholds", "sign", path, "--key", KEY).exit_code == 0
    load(path, KNOWN, production=False)
    assert run("thresholds", "sign", path, "--key", path).exit_code == 1


def explain(tmp_path: Path, document: Any, therapy: str = "ketamine") -> Result:
    path = tmp_path / "case.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return run("rules", "explain", "--therapy", therapy, "--case", path)


NOW = {"at": "2027-01-21T16:00:00-05:00", "zone": "America/New_York"}


def test_explain_prints_what_a_clinician_reads(tmp_path: Path) -> None:
    found = explain(
        tmp_path,
        {
            "part": "eligibility",
            "case": {
                "at": NOW,
                "aneurysm_or_avm": True,
                "weight": {"value": "82.0 kg", "at": "2027-01-21T10:00:00-05:00"},
            },
        },
    )
    assert found.exit_code == 0, found.output
    for expected in (
        "INELIGIBLE", "K-E-ANEURYSM", "SPRAVATO label", "approved by: NOT APPROVED", f"ketamine/{DAY}", "a licensed human decides",
        "allergies: hypersensitivity", "weight = 82.0 kg at 2027-01-21T15:00:00+00:00",
    ):  # fmt: skip
        assert expected in found.output


def test_explain_lists_every_bad_field_at_once(tmp_path: Path) -> None:
    case = {
        "at": {"at": "2027-01-21T16:00:00", "zone": "America/New_York"}, "weight": {"value": "82.0", "at": "2027-01-21T10:00:00-05:00"},
        "height": {"value": 168.0, "at": "2027-01-21T10:00:00-05:00"}, "psychosis_current": "no", "horoscope": 1, "birth_date": "soon",
        "severity": "awful", "audit_c": True, "trials": {}, "blood_pressure": [{"sbp": "128 mm[Hg]"}],
    }  # fmt: skip
    found = explain(tmp_path, {"part": "eligibility", "case": case})
    assert found.exit_code == 1
    for expected in (
        "at: the time has no offset", "weight.value: has no unit", "height.value: has no unit", "psychosis_current: must be true or false",
        "horoscope: is not a field", "birth_date: is not a date", "severity: is not a Severity", "audit_c: must be a whole number",
        "trials: must be a list", "blood_pressure[0].dbp: is required", "blood_pressure[0].at: is required",
    ):  # fmt: skip
        assert expected in found.output, expected


def test_explain_refuses_what_is_no_case(tmp_path: Path) -> None:
    assert "is not JSON" in explain(tmp_path, "{").output
    assert "needs" in explain(tmp_path, {"part": "horoscope", "case": {}}).output
    assert "needs" in explain(tmp_path, []).output
    assert explain(tmp_path, {"part": "start_gate", "case": {}}, "testosterone").exit_code == 1
    early = {"part": "eligibility", "case": {"at": {"at": "2020-01-21T16:00:00-05:00", "zone": "America/New_York"}}}
    assert "no revision" in explain(tmp_path, early).output


def test_explain_shows_a_rejected_dose(tmp_path: Path) -> None:
    plan = {"dose": "1.1 mg/kg", "basis": "actual", "duration": "20 min"}
    case = {
        "at": NOW,
        "plan": plan,
        "weight": {"value": "82.0 kg", "at": "2027-01-21T15:50:00-05:00"},
        "strength": "50 mg/mL",
        "bag": "100 mL",
    }
    found = explain(tmp_path, {"part": "dose", "case": case})
    assert found.exit_code == 1
    assert "above-hard-maximum" in found.output
    assert "needs-override" in found.output
    case["plan"] = {"dose": "0.5 mg/kg", "basis": "actual", "duration": "40 min"}
    shown = explain(tmp_path, {"part": "dose", "case": case})
    assert '"mass": "41.00 mg"' in shown.output
