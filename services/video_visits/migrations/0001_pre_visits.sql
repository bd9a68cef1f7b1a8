-- A visit, as it stands. Where the patient is on the day stays in this schema: it decides the licence, and where help is sent.
create table visit (
    id uuid primary key,
    patient uuid not null,
    care_case uuid,
    clinician uuid not null,
    starts_at timestamptz not null,
    zone text not null,
    minutes integer not null,
    by_video boolean not null,
    state text not null,
    region text,
    address text,
    located_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    reason text,
    version bigint not null
);
create index visit_patient on visit (patient, starts_at);
create index visit_day on visit (starts_at, id);
-- Who was there from when to when: one row for each connection, so that a late "left" never ends another one.
create table presence (
    visit uuid not null references visit (id),
    connection text not null,
    role text not null,
    joined_at timestamptz,
    left_at timestamptz,
    primary key (visit, connection)
);
-- Calls of the platform that were taken, so that one that comes twice does nothing twice.
create table platform_call (
    platform text not null,
    id text not null,
    visit uuid,
    kind text not null,
    at timestamptz not null,
    received_at timestamptz not null,
    primary key (platform, id)
);
