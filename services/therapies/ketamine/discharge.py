"""When a patient may be proposed for discharge: all of it, or the list of what is missing and the earliest time."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from schemas.values import Moment, Quantity
from services.therapies.evidence import Assessment, Evaluation, Outcome, Thresholds, is_stale
from services.therapies.instruments import RiskLevel
from services.therapies.ketamine.gates import PrescriberDecision, VitalsSet

__all__ = ["Discharge", "DischargeCase", "discharge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DischargeCase:
    """The end of a session.

    Attributes:
        started, ended: of the infusion; not ended is not ready.
        baseline: the frozen set the gate passed on; ``baseline_cadss6`` with it.
        sets: all sets of the session; only those after the end count.
        baseline_risk: worst level of that day before the session, anybody's; all but NONE asks for a C-SSRS before leaving.
        risks: whatever answers of today have come to, anybody's, each with when it became known here; a calmer answer that
            follows takes none of them back.
        risk_decision: the newest one of a prescriber about them.
        red_occurred: a RED or STOP was raised in the session.
        signer_role: of the licensed clinician who is to sign.
    """

    at: Moment
    started: dt.datetime
    ended: dt.datetime | None = None
    baseline: VitalsSet | None = None
    baseline_cadss6: int | None = None
    sets: tuple[VitalsSet, ...] = ()
    cadss6: int | None = None
    aldrete: int | None = None
    oriented_x4: bool | None = None
    gait_steady: bool | None = None
    vomiting: bool | None = None
    escort_seen: bool | None = None
    alert_open: bool | None = None
    baseline_risk: RiskLevel | None = None
    cssrs: RiskLevel | None = None
    cssrs_at: dt.datetime | None = None
    risks: tuple[tuple[RiskLevel, dt.datetime], ...] = ()
    risk_decision: PrescriberDecision | None = None
    red_occurred: bool | None = None
    signer_role: str | None = None
    instructions_given: bool | None = None
    contact_booked: bool | None = None


@dataclass(frozen=True, slots=True)
class Discharge:
    """Earliest instant by the clock alone, and when the 24-hour contact would be due after a sign-off now."""

    earliest: dt.datetime | None
    contact_due: dt.datetime


QUESTIONS: Final = frozenset(
    {"oriented_x4", "gait_steady", "vomiting", "escort_seen", "alert_open", "instructions_given", "contact_booked"}
)
RULES: Final = frozenset(
    [
        "K-X-TIME",
        "K-X-VITALS",
        "K-X-MOAAS",
        "K-X-CADSS6",
        "K-X-ALDRETE",
        "K-X-RISK-HIGH",
        "K-X-PRESCRIBER",
        "K-X-SIGNER",
        "K-X-DRIVING",
    ]
)


def discharge(case: DischargeCase, rules: Thresholds) -> Evaluation[Discharge]:
    """READY when every criterion is met, else NOT_READY with all that is missing; a licensed clinician signs either
    way.
    """
    e = Assessment("ketamine.discharge", rules, case.at.at)
    e.ask(case, "K-X-")
    earliest = _time(case, e)
    _sets(case, e)
    _scales(case, e)
    _risk_and_signer(case, e)
    blocking = any(finding.outcome is Outcome.NOT_READY for finding in e.findings) or e.absent
    e.fire("K-X-DRIVING")
    contact = case.at.at + rules["check.after_discharge"].elapsed
    return e.close(Outcome.NOT_READY if blocking else Outcome.READY, Discharge(earliest, contact))


def _time(case: DischargeCase, e: Assessment) -> dt.datetime | None:
    limits = e.thresholds
    started = e.look("started", "start", case.started)
    ended = e.look("ended", "end" if case.ended else None, case.ended)
    if case.ended is None:
        e.lack("ended", "the infusion has not ended")
        return None
    earliest = max(case.started + limits["discharge.from_start"].elapsed, case.ended + limits["discharge.from_end"].elapsed)
    if case.at.at < earliest:
        e.fire("K-X-TIME", started, ended, detail=f"earliest {Moment(earliest, case.at.zone).local:%H:%M}")
    return earliest


def _sets(case: DischargeCase, e: Assessment) -> None:
    """The newest complete set is fresh, passes, and so does one at least 15 min before it with nothing failing in
    between.
    """
    if case.baseline is None or case.baseline.sbp is None or case.baseline.dbp is None:
        e.lack("baseline", "the frozen baseline set")
    after = [s for s in sorted(case.sets, key=lambda s: s.at) if case.ended is not None and case.ended < s.at <= case.at.at]
    run: list[VitalsSet] = []
    for s in reversed(after):
        failing = _failing(s, case, e.thresholds)
        if failing:
            break
        if _complete(s):
            run.append(s)
    for s in after[-2:]:
        pressure = f"{shown(s.sbp)} / {shown(s.dbp)}, HR {shown(s.heart_rate)}, SpO2 {shown(s.spo2)}, RR {shown(s.resp_rate)}"
        failing = _failing(s, case, e.thresholds)
        e.look(f"set {s.at.astimezone(dt.UTC):%H:%M}", f"{pressure}; fails: {', '.join(failing) or 'nothing'}", s.at)
    apart = e.thresholds["discharge.sets_apart"]
    fresh = bool(run) and not is_stale(run[0].at, case.at.at, e.thresholds["discharge.vitals_age"])
    if not (run and fresh and apart.reached(run[0].at - run[-1].at)):
        e.fire("K-X-VITALS")


def shown(value: Quantity | None) -> str:
    return "unknown" if value is None else str(value)


def _complete(s: VitalsSet) -> bool:
    return None not in (s.sbp, s.dbp, s.heart_rate, s.resp_rate, s.spo2) and s.on_oxygen is False


def _failing(s: VitalsSet, case: DischargeCase, limits: Thresholds) -> list[str]:
    """Signals of a set that are present and outside the limits."""
    failing = []
    base = case.baseline
    if s.sbp is not None and not (
        limits["discharge.sbp.low"].met_by(s.sbp) and _upper("sbp", s.sbp, base.sbp if base else None, limits)
    ):
        failing.append("sbp")
    if s.dbp is not None and not _upper("dbp", s.dbp, base.dbp if base else None, limits):
        failing.append("dbp")
    if s.sbp is not None and s.dbp is not None and s.sbp <= s.dbp:
        failing.append("implausible pressure")
    for name in ("heart_rate", "resp_rate"):
        value = getattr(s, name)
        if value is not None and not all(limits[f"discharge.{name}.{k}"].met_by(value) for k in ("low", "high")):
            failing.append(name)
    # At least 95 %, or at least what the patient came with, on room air.
    at_baseline = s.spo2 is not None and base is not None and base.spo2 is not None and s.spo2 >= base.spo2
    if s.spo2 is not None and not (limits["discharge.spo2"].met_by(s.spo2) or at_baseline):
        failing.append("spo2")
    if s.on_oxygen:
        failing.append("on oxygen")
    if s.moaa_s is not None and not limits["discharge.moaa_s"].met_by(Quantity(Decimal(s.moaa_s), "{score}")):
        failing.append("moaa_s")
    return failing


def _upper(signal: str, value: Quantity, baseline: Quantity | None, limits: Thresholds) -> bool:
    """At most the limit; or, above it, at most 110 % of the baseline and below the ceiling."""
    if limits[f"discharge.{signal}.high"].met_by(value):
        return True
    return (
        baseline is not None
        and limits[f"discharge.{signal}.relative"].met_by_percent(value.value, baseline.value)
        and limits[f"discharge.{signal}.ceiling"].met_by(value)
    )


def _scales(case: DischargeCase, e: Assessment) -> None:
    limits = e.thresholds
    awake = next((s for s in sorted(case.sets, key=lambda s: s.at, reverse=True) if s.moaa_s is not None), None)
    if awake is None or awake.moaa_s is None or case.ended is None or awake.at < case.ended:
        e.lack("moaa_s", "sedation scale after the end")
    elif not limits["discharge.moaa_s"].met_by(Quantity(Decimal(awake.moaa_s), "{score}")):
        e.fire("K-X-MOAAS", e.look("moaa_s", awake.moaa_s, awake.at))
    cadss = e.look("cadss6", case.cadss6)
    before = e.look("baseline_cadss6", case.baseline_cadss6)
    if case.cadss6 is None or case.baseline_cadss6 is None:
        e.lack("cadss6", "dissociation before the start and now")
    else:
        rise = Quantity(Decimal(case.cadss6 - case.baseline_cadss6), "{score}")
        now = Quantity(Decimal(case.cadss6), "{score}")
        if not (limits["discharge.cadss6"].met_by(now) and limits["discharge.cadss6.above_baseline"].met_by(rise)):
            e.fire("K-X-CADSS6", cadss, before)
    aldrete = e.look("aldrete", case.aldrete)
    if case.aldrete is None:
        e.lack("aldrete", "Aldrete score")
    elif not limits["discharge.aldrete"].met_by(Quantity(Decimal(case.aldrete), "{score}")):
        e.fire("K-X-ALDRETE", aldrete)


def _risk_and_signer(case: DischargeCase, e: Assessment) -> None:
    e.look("baseline_risk", case.baseline_risk)
    looked = [e.look("cssrs", case.cssrs, case.cssrs_at)]
    looked += [e.look(f"risks[{i}]", level, at) for i, (level, at) in enumerate(case.risks)]
    recent = case.cssrs_at is not None and case.ended is not None and case.ended <= case.cssrs_at <= case.at.at
    undecided = {case.cssrs, *(level for level, at in case.risks if not _decided(case.risk_decision, at))}
    if RiskLevel.HIGH in undecided:
        e.fire("K-X-RISK-HIGH", *looked)
    if RiskLevel.INCOMPLETE in undecided:
        e.lack("cssrs", "the suicide screen is not complete", "incomplete")
    elif case.baseline_risk is not RiskLevel.NONE and (case.cssrs is None or not recent):
        e.lack("cssrs", "suicide screen before leaving, because there was ideation before (or it is not known)")
    red = e.look("red_occurred", case.red_occurred)
    signer = e.look("signer_role", case.signer_role)
    if case.red_occurred is None:
        e.lack("red_occurred", "whether a RED occurred")
    if case.signer_role not in ("nurse", "prescriber"):
        e.fire("K-X-SIGNER", signer)
    elif (case.red_occurred or RiskLevel.MODERATE in undecided) and case.signer_role != "prescriber":
        e.fire("K-X-PRESCRIBER", red, signer, *looked)


def _decided(decision: PrescriberDecision | None, known_at: dt.datetime) -> bool:
    """Whether a prescriber who knew of an answer has seen the patient since, and lets them go on."""
    return decision is not None and decision.start and decision.face_to_face and decision.at >= known_at
