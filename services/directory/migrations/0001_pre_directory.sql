-- Copies of facts that consultation and clinic own. Written by the directory's projection only.
create table patient_fact (
    patient uuid primary key,
    account uuid,
    zone text not null,
    language text not null,
    region text not null,
    status text not null,
    care_team jsonb not null,
    merged_into uuid
);
create index patient_fact_account on patient_fact (account);
create table staff_fact (
    staff uuid primary key,
    roles text[] not null,
    credentials jsonb not null,
    active boolean not null
);
create table site_fact (
    site uuid primary key,
    region text not null,
    zone text not null,
    chairs integer not null,
    active boolean not null
);
create table shift_fact (
    shift uuid primary key,
    role text not null,
    staff uuid not null,
    pager text not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    active boolean not null
);
create index shift_fact_role on shift_fact (role, ends_at) where active;
create table calendar_fact (
    only_row boolean primary key default true check (only_row),
    zone text not null,
    hours jsonb not null,
    closed date[] not null
);
