"""Public codes that services emit, each with whether it was seen in a source. Re-check the unverified ones before
release.
"""

from dataclasses import dataclass
from typing import Final

from schemas.values import Coded

__all__ = ["ICD10", "LOINC", "RXNORM", "SNOMED", "Emitted", "billable"]

_LOINC: Final = "http://loinc.org"
_ICD10: Final = "http://hl7.org/fhir/sid/icd-10-cm"
_RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
_SNOMED: Final = "http://snomed.info/sct"


@dataclass(frozen=True, slots=True)
class Emitted:
    """A code as emitted: the concept, its UCUM unit where it has one, and whether the code was seen in a source."""

    coding: Coded
    unit: str | None
    verified: bool


def _loinc(code: str, display: str, unit: str | None = None, *, verified: bool = True) -> Emitted:
    return Emitted(Coded(_LOINC, code, display), unit, verified)


# SpO2 is emitted with both of its codes in one coding list (FHIR vital signs and US Core pulse oximetry).
LOINC: Final[dict[str, Emitted]] = {
    "bp_panel": _loinc("85354-9", "Blood pressure panel"),
    "sbp": _loinc("8480-6", "Systolic blood pressure", "mm[Hg]"),
    "dbp": _loinc("8462-4", "Diastolic blood pressure", "mm[Hg]"),
    "heart_rate": _loinc("8867-4", "Heart rate", "/min"),
    "resp_rate": _loinc("9279-1", "Respiratory rate", "/min"),
    "temperature": _loinc("8310-5", "Body temperature", "Cel"),
    "spo2": _loinc("2708-6", "Oxygen saturation in arterial blood", "%"),
    "spo2_pulse_oximetry": _loinc("59408-5", "Oxygen saturation by pulse oximetry", "%"),
    "weight": _loinc("29463-7", "Body weight", "kg"),
    "height": _loinc("8302-2", "Body height", "cm"),
    "bmi": _loinc("39156-5", "Body mass index", "kg/m2"),
    "vitals_panel": _loinc("85353-1", "Vital signs panel"),
    "phq9_panel": _loinc("44249-1", "PHQ-9 panel"),
    "phq9_total": _loinc("44261-6", "PHQ-9 total score", "{score}"),
    "phq9_item1": _loinc("44250-9", "PHQ-9 item 1"),
    "phq9_item2": _loinc("44255-8", "PHQ-9 item 2"),
    "phq9_item3": _loinc("44259-0", "PHQ-9 item 3"),
    "phq9_item4": _loinc("44254-1", "PHQ-9 item 4"),
    "phq9_item5": _loinc("44251-7", "PHQ-9 item 5"),
    "phq9_item6": _loinc("44258-2", "PHQ-9 item 6"),
    "phq9_item7": _loinc("44252-5", "PHQ-9 item 7"),
    "phq9_item8": _loinc("44253-3", "PHQ-9 item 8"),
    "phq9_item9": _loinc("44260-8", "PHQ-9 item 9"),
    "phq9_difficulty": _loinc("69722-7", "PHQ-9 difficulty"),
    "phq2_total": _loinc("55758-7", "PHQ-2 total score", "{score}"),
    "phq_answer0": _loinc("LA6568-5", "Not at all"),
    "phq_answer1": _loinc("LA6569-3", "Several days"),
    "phq_answer2": _loinc("LA6570-1", "More than half the days"),
    "phq_answer3": _loinc("LA6571-9", "Nearly every day"),
    "gad7_panel": _loinc("69737-5", "GAD-7 panel"),
    "gad7_total": _loinc("70274-6", "GAD-7 total score", "{score}"),
    "gad7_item1": _loinc("69725-0", "GAD-7 item 1"),
    "gad7_item2": _loinc("68509-9", "GAD-7 item 2"),
    "gad7_item3": _loinc("69733-4", "GAD-7 item 3"),
    "gad7_item4": _loinc("69734-2", "GAD-7 item 4"),
    "gad7_item5": _loinc("69735-9", "GAD-7 item 5"),
    "gad7_item6": _loinc("69689-8", "GAD-7 item 6, irritable"),
    "gad7_item7": _loinc("69736-7", "GAD-7 item 7, afraid"),
    "cssrs_screener": _loinc("93373-9", "C-SSRS screener"),
    "cssrs_full": _loinc("93245-9", "C-SSRS"),
    "cssrs_q1": _loinc("93246-7", "C-SSRS question 1"),
    "cssrs_q2": _loinc("93247-5", "C-SSRS question 2"),
    "cssrs_q3": _loinc("93248-3", "C-SSRS question 3"),
    "cssrs_q4": _loinc("93249-1", "C-SSRS question 4"),
    "cssrs_q5": _loinc("93250-9", "C-SSRS question 5"),
    "cssrs_q6": _loinc("93267-3", "C-SSRS question 6"),
    "cssrs_q6_recent": _loinc("93269-9", "C-SSRS question 6, past three months"),
    "cssrs_level": _loinc("93374-7", "C-SSRS risk level"),
    "cssrs_level_low": _loinc("LA9194-7", "Low"),
    "testosterone_total": _loinc("2986-8", "Testosterone, total", "ng/dL"),
    "testosterone_free": _loinc("2991-8", "Testosterone, free", "pg/mL"),
    "testosterone_molar": _loinc("14913-8", "Testosterone, total, molar", "nmol/L"),
    "haematocrit": _loinc("4544-3", "Haematocrit", "%"),
    "haemoglobin": _loinc("718-7", "Haemoglobin", "g/dL"),
    "psa": _loinc("2857-1", "Prostate specific antigen", "ng/mL"),
    "hba1c": _loinc("4548-4", "Haemoglobin A1c", "%"),
    "lh": _loinc("10501-5", "Lutropin", "[IU]/L", verified=False),
    "fsh": _loinc("15067-2", "Follitropin", "[IU]/L", verified=False),
    "prolactin": _loinc("2842-3", "Prolactin", "ng/mL", verified=False),
    "estradiol": _loinc("2243-4", "Estradiol", "pg/mL", verified=False),
}
"""By concept. QIDS, MADRS, CADSS, MOAA/S and ADAM have no confirmed code and use a local system."""

RXNORM: Final[dict[str, Emitted]] = {
    name: Emitted(Coded(_RXNORM, code, name), None, verified)
    for name, code, verified in (
        ("ketamine", "6130", True),
        ("semaglutide", "1991302", True),
        ("testosterone", "10379", True),
        ("esketamine", "2119365", False),
    )
}

SNOMED: Final[dict[str, Emitted]] = {
    name: Emitted(Coded(_SNOMED, code, name), None, verified=True)
    for name, code in (
        ("major depressive disorder", "370143000"),
        ("obesity", "414916001"),
        ("hypogonadism", "48130008"),
        ("nausea", "422587007"),
    )
}

# E66.8 and E66.81 are headers and not billable. There is no code for treatment resistance: it is derived from the
# trials.
HEADERS: Final = frozenset({"E66.8", "E66.81"})
_ICD10_CODES: Final = """
    F32.0 F32.1 F32.2 F32.3 F32.4 F32.5 F32.89 F32.9 F32.A F33.0 F33.1 F33.2 F33.3 F33.40 F33.41 F33.42 F33.8
    F33.9 F31.30 F31.4 R45.851 T14.91XA Z91.51 E66.01 E66.09 E66.1 E66.2 E66.3 E66.811 E66.812 E66.813 E66.89
    E66.9 Z68.27 Z68.30 Z68.31 Z68.32 Z68.33 Z68.34 Z68.35 Z68.36 Z68.37 Z68.38 Z68.39 Z68.41 Z68.42 Z68.43
    Z68.44 Z68.45 E29.1 E23.0 D75.1 R97.20 Z79.890 Z79.85 I10 I16.0 I16.1 N30.10 K85.90 T41.295A T38.3X5A
    T38.7X5A Z13.31 Z51.81
"""
ICD10: Final = frozenset(_ICD10_CODES.split())
"""ICD-10-CM codes that may be emitted, all verified. Body mass index codes (Z68) need a documented weight diagnosis
beside them.
"""


def billable(code: str, others: frozenset[str] = frozenset()) -> bool:
    """Whether an ICD-10-CM code may stand on its own beside ``others``: listed, no header, and Z68 only with a weight
    diagnosis (E66).
    """
    if code not in ICD10 or code in HEADERS:
        return False
    return not code.startswith("Z68") or any(other.startswith("E66") and other in ICD10 for other in others)
