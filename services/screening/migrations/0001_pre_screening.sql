-- Answers as they were given, and what they come to under the revision that was in force. Never changed.
create table assessment (
    id uuid primary key,
    patient uuid not null,
    instrument text not null,
    answers jsonb not null,
    total integer,
    severity text,
    complete boolean not null,
    suicide_item integer,
    level text,
    proven text,
    rules text[] not null,
    revision text not null,
    rater text,
    entered_by text not null,
    answered_at timestamptz not null,
    recorded_at timestamptz not null
);
create index assessment_patient on assessment (patient, answered_at desc);
-- The level that holds for a patient: that of the newest screen by the time at which it was answered.
create table risk (
    patient uuid primary key,
    level text not null,
    proven text not null,
    assessment uuid not null,
    assessed_at timestamptz not null,
    version bigint not null
);
-- What a human has to do, by when. The note stays here.
create table task (
    id uuid primary key,
    patient uuid not null,
    kind text not null,
    level text not null,
    role text not null,
    assignee text,
    cause uuid not null,
    caused_at timestamptz not null,
    opened_at timestamptz not null,
    due_at timestamptz not null,
    acknowledged_at timestamptz,
    status text not null check (status in ('open', 'done', 'void')),
    closed_by text,
    closed_at timestamptz,
    note text,
    version bigint not null
);
create index task_open on task (due_at, id) where status = 'open';
create index task_patient on task (patient, opened_at desc);
