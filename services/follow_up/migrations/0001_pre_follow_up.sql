-- The contact book: where a patient is reached, and by what they agreed to be. A birth date is never kept here, only a salted
-- hash of it, with which a link asks whether the right person holds it.
create table contact (
    patient uuid primary key,
    email text,
    phone text,
    email_agreed boolean not null,
    birth_salt bytea not null,
    birth_hash bytea not null,
    entered_by text not null,
    entered_at timestamptz not null,
    version bigint not null
);
-- Who the patients are to whom something is sent: in which zone they read the clock, and whether they are still treated here.
create table recipient (
    patient uuid primary key,
    zone text not null,
    language text not null,
    status text not null
);
-- Sessions, as their owner tells of them.
create table session_fact (
    session uuid primary key,
    patient uuid not null,
    care_case uuid not null,
    plan uuid not null,
    ordinal integer not null,
    phase text not null,
    starts_at timestamptz not null,
    zone text not null,
    state text not null,
    started_at timestamptz,
    ending text
);
create index session_fact_patient on session_fact (patient, starts_at);
-- Visits, as their owner tells of them.
create table visit_fact (
    visit uuid primary key,
    patient uuid not null,
    starts_at timestamptz not null,
    zone text not null,
    status text not null
);
create index visit_fact_patient on visit_fact (patient, starts_at);
-- A message that is planned for a patient: what about, when, and what became of it.
create table reminder (
    id uuid primary key,
    patient uuid not null,
    about uuid not null,
    kind text not null,
    rung text not null,
    due_at timestamptz not null,
    zone text not null,
    about_at timestamptz,
    status text not null,
    channel text,
    settled_at timestamptz
);
create index reminder_about on reminder (about) where status = 'planned';
create index reminder_patient on reminder (patient, due_at);
-- A one-time link: only the hash of its token is kept.
create table link (
    token_hash bytea primary key,
    id uuid not null unique,
    patient uuid not null,
    instruments text[] not null,
    made_at timestamptz not null,
    expires_at timestamptz not null,
    tries integer not null,
    answered text[] not null,
    status text not null,
    version bigint not null
);
create index link_patient on link (patient);
-- Scores of every service, and the four series about suicidality.
create table score (
    assessment uuid primary key,
    patient uuid not null,
    instrument text not null,
    total integer,
    suicide_item integer,
    at timestamptz not null,
    owner text not null
);
create index score_patient on score (patient, instrument, at);
create table risk_point (
    assessment uuid primary key,
    patient uuid not null,
    level text not null,
    instrument text not null,
    at timestamptz not null,
    owner text not null
);
create index risk_point_patient on risk_point (patient, at);
-- The last complete score before the first infusion, frozen at its start.
create table baseline (
    patient uuid not null,
    instrument text not null,
    total integer not null,
    assessment uuid not null,
    at timestamptz not null,
    primary key (patient, instrument)
);
create table outcome (
    assessment uuid primary key,
    patient uuid not null,
    instrument text not null,
    baseline integer not null,
    total integer not null,
    change numeric not null,
    response boolean not null,
    remission boolean not null,
    relapse boolean not null,
    criteria text[] not null,
    rules text[] not null,
    revision text not null,
    at timestamptz not null
);
create index outcome_patient on outcome (patient, at);
-- What somebody has to do by when, beside what answers about suicide open.
create table care_task (
    id uuid primary key,
    patient uuid not null,
    session uuid,
    kind text not null,
    role text not null,
    opened_at timestamptz not null,
    due_at timestamptz not null,
    status text not null check (status in ('open', 'done', 'void')),
    closed_by text,
    closed_at timestamptz,
    note text,
    version bigint not null
);
create index care_task_open on care_task (due_at, id) where status = 'open';
create unique index care_task_once on care_task (patient, session, kind) where status = 'open' and session is not null;
create table guidance (
    patient uuid not null,
    topic text not null,
    stage text not null,
    given_at timestamptz not null,
    primary key (patient, topic, stage)
);
