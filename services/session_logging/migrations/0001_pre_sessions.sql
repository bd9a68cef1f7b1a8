-- Copies of facts that others own. Written by their events only.
create table case_fact (
    care_case uuid primary key,
    patient uuid not null,
    kind text,
    proposed text,
    valid_until date,
    examined_at timestamptz,
    consent text,
    withdrawn_at timestamptz,
    sex text,
    pregnancy_possible boolean,
    weight text,
    height text,
    pdmp_checked_at timestamptz
);
create index case_fact_patient on case_fact (patient);
create table plan_fact (
    plan uuid primary key,
    patient uuid not null,
    number integer not null,
    status text not null default 'active'
);
-- The suicide risk that other services have found.
create table risk_fact (
    patient uuid not null,
    owner text not null,
    level text not null,
    assessed_at timestamptz not null,
    primary key (patient, owner)
);
-- A treatment session, as it stands. What happened in it is in `entry`.
create table session (
    id uuid primary key,
    plan uuid not null,
    plan_number integer not null,
    terms jsonb not null,
    care_case uuid not null,
    patient uuid not null,
    therapy text not null,
    ordinal integer not null,
    phase text not null,
    starts_at timestamptz not null,
    zone text not null,
    state text not null,
    nurse uuid,
    device text,
    dose jsonb,
    rate text,
    baseline jsonb,
    baseline_cadss6 integer,
    baseline_risk text,
    checked_in_at timestamptz,
    started_at timestamptz,
    paused_at timestamptz,
    ended_at timestamptz,
    pump_volume text,
    ending text,
    closed_at timestamptz,
    version bigint not null
);
create index session_day on session (starts_at, id);
create index session_patient on session (patient, starts_at);
create index session_plan on session (plan);
-- One patient has one running infusion, one monitor one open session: whatever the code does.
create unique index session_infusing on session (patient) where state in ('infusing', 'paused');
create unique index session_device on session (device) where device is not null and state <> 'closed';
-- What was done, measured, seen and said, in the order in which it was recorded. Never changed.
create table entry (
    id uuid primary key,
    session uuid not null references session (id),
    kind text not null,
    at timestamptz not null,
    recorded_at timestamptz not null,
    by_person text not null,
    data jsonb not null
);
create index entry_session on entry (session, recorded_at, id);
-- Samples of a monitor, as they came. Never changed.
create table sample (
    session uuid not null references session (id),
    device text not null,
    seq bigint not null,
    at timestamptz not null,
    recorded_at timestamptz not null,
    heart_rate integer,
    resp_rate integer,
    spo2 integer,
    origin text,
    primary key (session, device, seq)
);
create table gate_evaluation (
    id uuid primary key,
    session uuid not null references session (id),
    gate text not null,
    outcome text not null,
    evidence jsonb not null,
    revision text not null,
    evaluated_at timestamptz not null,
    asked_by text not null
);
create index gate_evaluation_session on gate_evaluation (session, evaluated_at desc);
create table alert (
    id uuid primary key,
    session uuid not null references session (id),
    patient uuid not null,
    key text not null,
    family text not null,
    tier text not null,
    rule text not null,
    value text not null,
    at timestamptz not null,
    raised_at timestamptz not null,
    late boolean not null,
    verify boolean not null,
    nurse_by text,
    nurse_at timestamptz,
    prescriber_by text,
    prescriber_at timestamptz,
    status text not null check (status in ('open', 'resolved')),
    action text,
    resolved_by text,
    resolved_at timestamptz,
    version bigint not null,
    unique (session, key)
);
create index alert_open on alert (session) where status = 'open';
create table drug (
    session uuid primary key references session (id),
    strength text not null,
    drawn text not null,
    into_bag text not null,
    bag text not null,
    vial text not null,
    lot text not null,
    expires date not null,
    drawn_by text not null,
    drawn_at timestamptz not null,
    version bigint not null
);
create table waste (
    id uuid primary key,
    session uuid not null references session (id),
    volume text not null,
    wasted_by text not null,
    wasted_at timestamptz not null,
    witness text,
    witnessed_at timestamptz,
    version bigint not null
);
create index waste_session on waste (session);
create table adverse_event (
    id uuid primary key,
    session uuid not null references session (id),
    patient uuid not null,
    term text not null,
    grade integer not null,
    proposed_grade integer,
    relatedness text not null,
    action text not null,
    serious text[] not null,
    note text not null,
    onset_at timestamptz not null,
    entered_by text not null,
    entered_at timestamptz not null,
    resolved_at timestamptz,
    version bigint not null
);
create index adverse_event_session on adverse_event (session);
-- After an adverse event or a RED the next gate stays closed until a prescriber has said how to go on (decision B13).
create table review (
    id uuid primary key,
    patient uuid not null,
    session uuid not null references session (id),
    cause text not null,
    opened_at timestamptz not null,
    decision text,
    decided_by text,
    decided_at timestamptz,
    version bigint not null
);
create unique index review_open on review (session) where decision is null;
create index review_patient on review (patient) where decision is null;
