-- What consultation says of a case: who decided what, until when it holds, which consent holds. Written by its events only.
create table case_fact (
    care_case uuid primary key,
    patient uuid not null,
    therapy text not null,
    decision uuid,
    kind text,
    proposed text,
    conditions text[] not null default '{}',
    valid_until date,
    examined_at timestamptz,
    consent text
);
create index case_fact_patient on case_fact (patient);
-- What session_logging says of a session: one that has begun is no longer the plan's to change.
create table session_fact (
    session uuid primary key,
    patient uuid not null,
    state text not null,
    started_at timestamptz,
    ending text
);
create index session_fact_patient on session_fact (patient);
create table plan (
    id uuid primary key,
    care_case uuid not null,
    patient uuid not null,
    therapy text not null,
    status text not null check (status in ('draft', 'active', 'held', 'stopped')),
    reason text,
    number integer not null,
    signed jsonb,
    draft jsonb,
    version bigint not null
);
create unique index plan_of_case on plan (care_case) where status <> 'stopped';
create index plan_patient on plan (patient);
-- What a prescriber signed, with exactly what was shown to them. Never changed: an amendment is another row.
create table plan_version (
    plan uuid not null references plan (id),
    number integer not null,
    content jsonb not null,
    signature uuid not null references signature (id),
    signed_by text not null,
    signed_at timestamptz not null,
    primary key (plan, number)
);
-- What was said about a plan beside its versions: held, released, stopped; by whom, why. Never changed.
create table plan_act (
    id uuid primary key,
    plan uuid not null references plan (id),
    act text not null check (act in ('held', 'released', 'stopped')),
    reason text not null,
    by_person text not null,
    at timestamptz not null
);
create index plan_act_plan on plan_act (plan, at);
