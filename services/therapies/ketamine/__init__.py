"""Ketamine infusions for treatment-resistant depression.

Ketamine is approved as an anaesthetic only; this use is off-label and is called so everywhere. It is given in a clinic
with staff present: there is no pathway for taking it at home, and none may be added here.
"""

from typing import Final

from services.therapies.ketamine import alerts, discharge, dosing, eligibility, gates, outcomes, schedule
from services.therapies.protocol import Keys, Part, Therapy

__all__ = ["THERAPY"]

VALUES: Final[dict[str, str]] = {
    key: unit
    for unit, keys in {
        "1": """
            trd.min_trials start.holds start.per_nurse start.per_nurse.with_recovery start.sbp.older.enabled
            gap.spo2.awake_sets induction.infusions induction.per_week induction.per_week.alternative cap
            maintenance.weekly futility.first futility.second msm.failures.*
        """,
        "wk": "trd.min_weeks event.recent maintenance.interval.*",
        "%": """
            trd.adherence weight.confirm weight.remeasure weight.disagree adjusted.share futility.improvement
            start.spo2.pass start.spo2.no_start resume.spo2 alert.spo2_low.* alert.spo2_on_oxygen.STOP
            discharge.sbp.relative discharge.dbp.relative discharge.spo2 plausible.spo2.low plausible.spo2.high
            possible.spo2 pump.disagree
        """,
        "mg/d": "trd.dose.* lorazepam.cap",
        "mo": "msm.duration.*",
        "{score}": """
            msm.band.* stop_bang.raised dast10.raised audit_c.raised.female audit_c.raised.male start.moaa_s
            resume.moaa_s alert.moaa_s.* alert.cadss6.AMBER discharge.moaa_s discharge.cadss6
            discharge.cadss6.above_baseline discharge.aldrete
        """,
        "a": "age.minimum age.elderly start.sbp.older.age",
        "kg": """
            weight.low weight.high plausible.weight.low plausible.weight.high dosing_weight.step devine.male
            devine.female devine.per_inch
        """,
        "cm": "plausible.height.low plausible.height.high",
        "[in_i]": "devine.from",
        "kg/m2": "plausible.bmi.low plausible.bmi.high bmi.obese",
        "mm[Hg]": """
            plausible.sbp.low plausible.sbp.high plausible.dbp.low plausible.dbp.high possible.sbp possible.dbp
            pressure.sbp.uncontrolled pressure.dbp.uncontrolled pressure.sbp.raised pressure.dbp.raised
            start.sbp.pass start.sbp.no_start start.sbp.low start.sbp.older.pass start.dbp.pass start.dbp.no_start
            resume.sbp.low resume.sbp.high resume.dbp.high alert.sbp_high.* alert.sbp_rise.AMBER alert.dbp_high.*
            alert.sbp_low.* discharge.sbp.low discharge.sbp.high discharge.sbp.ceiling discharge.dbp.high
            discharge.dbp.ceiling grade.sbp.* grade.dbp.*
        """,
        "/min": """
            plausible.heart_rate.low plausible.heart_rate.high plausible.resp_rate.low plausible.resp_rate.high
            possible.heart_rate possible.resp_rate start.heart_rate.low start.heart_rate.pass
            start.heart_rate.no_start start.resp_rate.low start.resp_rate.pass start.resp_rate.no_start
            resume.heart_rate.low resume.heart_rate.high resume.resp_rate.low resume.resp_rate.high
            alert.heart_rate_high.* alert.heart_rate_low.* alert.resp_rate_low.* alert.resp_rate_high.*
            discharge.heart_rate.low discharge.heart_rate.high discharge.resp_rate.low discharge.resp_rate.high
        """,
        "Cel": "plausible.temperature.low plausible.temperature.high",
        "d": """
            age_of.tests age_of.vitals age_of.hcg age_of.cssrs eligibility.valid cap.window baseline.age start.glp1
            record.due
        """,
        "mg/kg": "dose.minimum dose.usual.low dose.maximum dose.step_up",
        "min": """
            duration.minimum duration.maximum start.vitals_age start.recheck.after resume.vitals_age resume.paused
            gap.bp.infusion.* gap.bp.recovery.* gap.spo2.typed_covers recheck.red.due recheck.red.overdue
            recheck.amber cadence.bp.infusion cadence.bp.recovery late discharge.from_start discharge.from_end
            discharge.sets_apart discharge.vitals_age
        """,
        "mg/mL": "concentration.maximum strength.never_undiluted",
        "mL": "volume.step ledger.volume",
        "mg": "ledger.mass",
        "mL/h": "rate.step",
        "h": "gap start.solids start.clear_fluids start.substances check.after_discharge",
        "s": """
            start.facts_age dwell.* gap.spo2.RED gap.spo2.STOP page.red.again page.red.second page.red.clinic
            page.pause_unrecorded
        """,
    }.items()
    for key in keys.split()
}

THERAPY: Final = Therapy(
    name="ketamine",
    keys=Keys(
        values=VALUES,
        rules=eligibility.RULES
        | gates.RULES
        | discharge.RULES
        | {"K-D-MAINTENANCE", "K-O-FUTILITY", "K-O-RELAPSE", "K-O-RESPONSE", "K-O-REMISSION"},
        questions=eligibility.QUESTIONS | gates.START_QUESTIONS | gates.RESUME_QUESTIONS | discharge.QUESTIONS,
        lists=frozenset(eligibility.DRUG_RULES)
        | {"strengths", "start.overridable", "symptoms.AMBER", "symptoms.RED", "symptoms.STOP"},
    ),
    eligibility=Part(eligibility.EligibilityCase, eligibility.eligibility),
    plan=Part(schedule.PlanCase, schedule.plan),
    dose=Part(dosing.DoseCase, dosing.dose_of_the_day),
    schedule=Part(schedule.ScheduleCase, schedule.schedule),
    series=Part(schedule.SeriesCase, schedule.series),
    adjustment=Part(schedule.MaintenanceCase, schedule.maintenance),
    start_gate=Part(gates.StartCase, gates.start_gate),
    resume_gate=Part(gates.ResumeCase, gates.resume_gate),
    alerts=Part(alerts.AlertCase, alerts.alerts),
    discharge=Part(discharge.DischargeCase, discharge.discharge),
    response=Part(outcomes.OutcomeCase, outcomes.response_review),
)
