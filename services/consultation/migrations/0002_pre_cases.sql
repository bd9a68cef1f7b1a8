-- What the patient and the team say of history and complaints, for the rules to be asked about. Every version is kept.
create table intake (
    care_case uuid primary key references care_case (id),
    answers jsonb not null,
    entered_by text not null,
    entered_at timestamptz not null,
    version bigint not null
);
create table intake_version (
    care_case uuid not null references care_case (id),
    number bigint not null,
    answers jsonb not null,
    entered_by text not null,
    entered_at timestamptz not null,
    primary key (care_case, number)
);
-- Findings as clinicians reported them. Never changed: a correction is another row.
create table result (
    id uuid primary key,
    care_case uuid not null references care_case (id),
    test text not null,
    finding text not null,
    taken_at timestamptz not null,
    reported_by text not null,
    reported_at timestamptz not null
);
create index result_case on result (care_case, taken_at desc);
create table pdmp_check (
    id uuid primary key,
    care_case uuid not null references care_case (id),
    finding text not null,
    checked_at timestamptz not null,
    checked_by text not null,
    reported_at timestamptz not null
);
create index pdmp_check_case on pdmp_check (care_case, checked_at desc);
create table examination (
    id uuid primary key,
    care_case uuid not null references care_case (id),
    measured jsonb not null,
    examined_at timestamptz not null,
    examined_by text not null,
    reported_at timestamptz not null
);
create index examination_case on examination (care_case, examined_at desc);
create table topic_read (
    care_case uuid not null references care_case (id),
    topic text not null,
    content text not null,
    read_by text not null,
    read_at timestamptz not null,
    primary key (care_case, topic, content)
);
create table consent (
    id uuid primary key,
    care_case uuid not null references care_case (id),
    text_version text not null,
    method text not null,
    given_at timestamptz not null,
    given_by text not null,
    recorded_by text not null,
    withdrawn_at timestamptz,
    withdrawn_by text,
    version bigint not null
);
create unique index consent_holds on consent (care_case) where withdrawn_at is null;
-- What the rules proposed, with all of its evidence, under the revision that was in force. Never changed.
create table evaluation (
    id uuid primary key,
    care_case uuid not null references care_case (id),
    outcome text not null,
    evidence jsonb not null,
    revision text not null,
    evaluated_at timestamptz not null,
    asked_by text not null
);
create index evaluation_case on evaluation (care_case, evaluated_at desc);
