"""What must never stand in the rows of the infusion room, whatever anybody did there and whatever broke meanwhile.

Each sentence has a query that finds whatever contradicts it. They are written from the papers' limits and from what was
recorded; none asks the service or its rules. What was recorded is ordered by its id, which no clinic clock makes.
"""

from typing import Final

from tests.support.chair import Chair

__all__ = ["FORBIDDEN", "forbidden"]


def _number(text: str) -> str:
    return f"split_part({text}, ' ', 1)::numeric"


def _said(name: str, before: str = "e") -> str:
    """The last thing that was said of a fact before an entry."""
    return f"""(select f.data ->> '{name}' from entry f where f.session = {before}.session and f.kind = 'facts'
                and f.data ? '{name}' and f.id < {before}.id order by f.id desc limit 1)"""


def _lost(signal: str, beyond: str, family: str) -> str:
    """Typed values beyond a limit of RED while somebody was watched, of which there is no alert."""
    return f"""select e.id from entry e join session s on s.id = e.session
               join entry b on b.session = s.id and b.kind = 'start' and b.id < e.id
               where e.kind = 'vitals' and {_number(f"e.data ->> '{signal}'")} {beyond}
               and not exists (select 1 from alert a where a.session = s.id and a.family = '{family}' and a.tier <> 'AMBER')"""


def _unseen_risk(before: str, levels: tuple[str, ...]) -> str:
    """A grave answer of the day before an entry, or one that was heard of, after which no prescriber has let them go on."""
    grave = ", ".join(f"'{level}'" for level in levels)
    return f"""exists (
        select q.id from assessment q join session s on s.patient = q.patient and s.id = {before}.session
        where q.proven in ({grave}) and q.id < {before}.id
        and (q.answered_at at time zone s.zone)::date = ({before}.at at time zone s.zone)::date
        and not {_let_go_on("q", before)}
        union all select n.id from entry n where n.session = {before}.session and n.kind = 'decision-needed'
        and n.data ->> 'code' = 'risk-high' and n.id < {before}.id and not {_let_go_on("n", before)})"""


def _let_go_on(after: str, before: str) -> str:
    return f"""exists (select 1 from entry d where d.session = {before}.session and d.kind = 'decision'
        and d.data ->> 'about' = 'risk' and (d.data ->> 'start')::boolean and d.id > {after}.id and d.id < {before}.id)"""


_PUMP: Final = """pump as (select s.patient, s.id, min(e.at) filter (where e.kind = 'start') as began,
                                  min(e.at) filter (where e.kind = 'end') as ended
                           from session s join entry e on e.session = s.id group by s.patient, s.id)"""
_DISCHARGED: Final = "s.ending in ('completed', 'aborted') and s.started_at is not null"

FORBIDDEN: Final = {
    "two infusions of one patient run": "select patient from session where state in ('infusing', 'paused')"
    " group by patient having count(*) > 1",
    "two infusions of one patient have run at the same time": f"""with {_PUMP}
        select a.id from pump a join pump b on a.patient = b.patient and a.id < b.id
        where a.began < coalesce(b.ended, 'infinity') and b.began < coalesce(a.ended, 'infinity')""",
    "an infusion was started twice, or is told twice": """select s.id from session s
        where (select count(*) from entry e where e.session = s.id and e.kind = 'start') > 1
        or (select count(*) from entry e where e.session = s.id and e.kind = 'start')
           <> (select count(*) from outbox o where o.source like '%' || s.id and o.type like '%.infusion-started.%')
        or (s.started_at is null) = exists (select 1 from entry e where e.session = s.id and e.kind = 'start')""",
    "a session is not where its moves have brought it": """select s.id from session s
        left join lateral (select to_state from move m where m.session = s.id order by m.id desc limit 1) last on true
        where s.state <> coalesce(last.to_state, 'scheduled')
        union all select m.session from (select session, from_state, lag(to_state, 1, 'scheduled')
            over (partition by session order by id) as before from move) m where m.from_state <> m.before""",
    "a dose is above the plan, the hard limit of 1 mg/kg, or not of a weight that was said": f"""select s.id from session s
        where s.dose ->> 'mass' is not null and (
        {_number("s.dose ->> 'mass'")} > {_number("s.dose ->> 'weight'")} * least(1.0, {_number("s.terms ->> 'dose'")})
        or not exists (select 1 from entry e where e.session = s.id and e.data ->> 'weight' = s.dose ->> 'weight'))""",
    "an infusion started at the dose of another weight than was said last": f"""select e.id from entry e
        join session s on s.id = e.session
        where e.kind = 'start' and {_said("weight")} is distinct from s.dose ->> 'weight'""",
    "the pump has run faster than the plan": f"""select e.id from entry e join session s on s.id = e.session
        where e.kind in ('start', 'rate', 'resume')
        and {_number("e.data ->> 'rate'")} * {_number("s.terms ->> 'duration'")} / 60 > {_number("s.dose ->> 'bag'")}""",
    "more was given than the dose": f"""select s.id from session s join drug d on d.session = s.id
        where {_number("s.pump_volume")} > {_number("d.bag")}
        or {_number("d.into_bag")} * {_number("d.strength")} > {_number("s.dose ->> 'mass'")}""",
    "the dose was settled anew after the start": """select g.id from gate_evaluation g join entry e on e.session = g.session
        where g.gate = 'dose' and e.kind = 'start' and g.id > e.id""",
    "a session is closed over a ledger that does not balance": f"""select s.id from session s join drug d on d.session = s.id
        where s.ending in ('completed', 'aborted', 'voided', 'no-show', 'cancelled') and {_number("d.drawn")} is distinct from
        case when s.started_at is null then 0
             else round({_number("d.into_bag")} * {_number("s.pump_volume")} / {_number("d.bag")}, 2) end
        + (select coalesce(sum({_number("w.volume")}), 0) from waste w where w.session = s.id and w.witness is not null)""",
    "who left with an unbalanced ledger called nobody": f"""select s.id from session s join drug d on d.session = s.id
        where s.ending in ('left-against-advice', 'eloped', 'transferred') and {_number("d.drawn")} is distinct from
        case when s.started_at is null then 0
             else round({_number("d.into_bag")} * {_number("s.pump_volume")} / {_number("d.bag")}, 2) end
        + (select coalesce(sum({_number("w.volume")}), 0) from waste w where w.session = s.id and w.witness is not null)
        and not exists (select 1 from page p where p.code = 'session.drug-unaccounted' and p.subject = s.id::text)""",
    "somebody witnessed their own drug": """select w.id from waste w join drug d on d.session = w.session
        where w.witness in (w.wasted_by, d.drawn_by) or exists (select 1 from entry e where e.session = w.session
            and e.kind in ('start', 'resume') and e.by_person = w.witness)""",
    "an alert was closed by nobody, or a grave one by who may not": """select a.id from alert a
        where a.status = 'resolved' and (a.action is null or a.resolved_at is null
            or not exists (select 1 from audit d where d.action = 'alert.resolve' and d.actor = a.resolved_by
                           and d.target = 'alert/' || a.id)
            or a.tier <> 'AMBER' and not exists (select 1 from staff_fact f where f.staff::text = a.resolved_by
                                                 and 'prescriber' = any(f.roles)))""",
    "a saturation of 91 or less raised nothing": _lost("spo2", "<= 91", "spo2_low"),
    "a systolic pressure of 180 or more raised nothing": _lost("sbp", ">= 180", "sbp_high"),
    "a grave alert called nobody": """select a.id from alert a where a.tier <> 'AMBER' and not exists (
        select 1 from page p where p.dedupe_key like 'alert:' || a.id || ':%')""",
    "a human ended an infusion and called nobody": """select e.id from entry e where e.kind = 'end'
        and e.data ->> 'reason' in ('patient-asked', 'emergency') and (
            select count(*) from page p where p.raised_at = e.recorded_at and p.dedupe_key like 'alert:%:stop%') < 2""",
    "somebody went home early": f"""select s.id from session s where {_DISCHARGED} and (s.ended_at is null
        or s.closed_at < s.started_at + interval '120 min' or s.closed_at < s.ended_at + interval '60 min')""",
    "somebody went home whom nobody has signed out": f"""select s.id from session s where {_DISCHARGED}
        and not exists (select 1 from signature g where g.subject = 'sessions/' || s.id || '/discharge')""",
    "somebody went home without their escort, instructions, a steady gait, or a screen": f"""select s.id from session s
        join entry e on e.session = s.id and e.kind = 'closed'
        where {_DISCHARGED} and ({_said("escort_seen")} is distinct from 'true'
        or {_said("instructions_given")} is distinct from 'true' or {_said("gait_steady")} is distinct from 'true'
        or not exists (select 1 from assessment q where q.patient = s.patient and q.instrument like 'C-SSRS%'
                       and q.answered_at between s.ended_at and s.closed_at))""",
    "somebody went home without two calm sets": f"""select s.id from session s where {_DISCHARGED} and not exists (
        select 1 from entry a join entry b on b.session = a.session where a.session = s.id and a.kind = 'vitals'
        and b.kind = 'vitals' and a.at > s.ended_at and b.at >= a.at + interval '15 min' and b.at <= s.closed_at
        and {_number("a.data ->> 'spo2'")} >= 95 and {_number("b.data ->> 'spo2'")} >= 95
        and {_number("a.data ->> 'sbp'")} between 90 and 159 and {_number("b.data ->> 'sbp'")} between 90 and 159)""",
    "somebody went home under an open alert": f"""select a.id from alert a join session s on s.id = a.session
        join move m on m.session = s.id and m.to_state = 'closed'
        where {_DISCHARGED} and a.raised_at < m.recorded_at and (a.resolved_at is null or a.resolved_at > m.recorded_at)""",
    "an infusion started that no gate let through": """select e.id from entry e where e.kind = 'start' and not exists (
        select 1 from gate_evaluation g where g.session = e.session and g.gate = 'start' and g.outcome = 'OPEN'
        and g.evaluated_at = e.recorded_at)""",
    "an infusion started without what was due at the door": f"""select e.id from entry e where e.kind = 'start' and (
        {_said("identity_confirmed")} is distinct from 'true' or {_said("hcg")} is distinct from 'negative'
        or {_said("escort_phoned")} is distinct from 'true' or {_said("consent_reconfirmed")} is distinct from 'true'
        or exists (select 1 from entry w where w.session = e.session and w.kind = 'consent-withdrawn' and w.id < e.id)
        or not exists (select 1 from drug d where d.session = e.session))""",
    "an infusion started with a GLP-1 dose that nobody has looked at": f"""select e.id from entry e where e.kind = 'start' and
        {_said("glp1")} is distinct from 'false' and {_said("glp1_checklist_complete")} is distinct from 'true'""",
    "an infusion started on vitals that are old or speak against it": f"""select e.id from entry e
        left join lateral (select v.at, v.data from entry v where v.session = e.session and v.kind = 'vitals' and v.id < e.id
                           order by v.at desc limit 1) v on true
        where e.kind = 'start' and (v.at is null or v.at < e.at - interval '15 min'
        or {_number("v.data ->> 'sbp'")} >= 160 or {_number("v.data ->> 'spo2'")} <= 92)""",
    "an infusion started without a whole suicide screen": """select e.id from entry e join session s on s.id = e.session
        left join lateral (select q.level from assessment q where q.patient = s.patient and q.id < e.id
                           order by q.id desc limit 1) q on true
        where e.kind = 'start' and (q.level is null or q.level = 'INCOMPLETE')""",
    "an infusion started over a suicide risk that nobody has looked at": f"""select e.id from entry e
        where e.kind = 'start' and {_unseen_risk("e", ("HIGH", "MODERATE"))}""",
    "somebody went home over a high suicide risk that nobody has looked at": f"""select e.id from entry e
        join session s on s.id = e.session
        where e.kind = 'closed' and {_DISCHARGED} and {_unseen_risk("e", ("HIGH",))}""",
    "an infusion started on a held pressure that nobody has overridden": f"""select e.id from entry e
        join lateral (select v.id, v.data from entry v where v.session = e.session and v.kind = 'vitals' and v.id < e.id
                      order by v.at desc limit 1) v on true
        where e.kind = 'start' and {_number("v.data ->> 'sbp'")} > 140 and not exists (select 1 from entry o
            where o.session = e.session and o.kind = 'override' and o.data ->> 'rule' = 'K-S-SBP'
            and o.id between v.id and e.id)""",
    "an infusion went on against the last word of a prescriber": """select e.id from entry e
        left join lateral (select d.data from entry d where d.session = e.session and d.kind = 'decision' and d.id < e.id
                           and d.data ->> 'about' = 'resume' order by d.id desc limit 1) d on true
        where e.kind = 'resume' and (d.data ->> 'start')::boolean is not true""",
    "an infusion started after a fact that asks for a decision, without one": """select e.id from entry e
        join entry n on n.session = e.session and n.kind = 'decision-needed' and n.id < e.id
        where e.kind = 'start' and not exists (select 1 from entry d where d.session = e.session and d.kind = 'decision'
            and d.data ->> 'about' = 'changes' and (d.data ->> 'start')::boolean and d.id between n.id and e.id)""",
    "who gives the drug has witnessed that it was thrown away": """select e.id from entry e
        join waste w on w.session = e.session and w.witness = e.by_person where e.kind in ('start', 'resume')""",
    "an event is not where its sequence says": """select source from outbox group by source, epoch
        having count(*) <> max(sequence) - min(sequence) + 1 or min(sequence) <> 1""",
}
"""What must never be, and how it would be found."""


async def forbidden(chair: Chair) -> dict[str, list[str]]:
    """Whatever is, and must never be: sentences, each with the ids that it is true of."""
    found = {}
    async with chair.care.owner("session_logging") as connection:
        for sentence, query in FORBIDDEN.items():
            if rows := await connection.fetch(query):
                found[sentence] = [str(row[0]) for row in rows]
    return found
