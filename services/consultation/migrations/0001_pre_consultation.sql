-- Somebody asks to become a patient. Names and addresses stay in this schema.
create table enquiry (
    id uuid primary key,
    name text not null,
    email text,
    phone text,
    language text not null,
    zone text not null,
    therapy text not null,
    received_at timestamptz not null,
    status text not null check (status in ('open', 'linked', 'closed')),
    patient uuid,
    closed_for text,
    handled_by text,
    version bigint not null
);
create index enquiry_open on enquiry (received_at, id) where status = 'open';
create table patient (
    id uuid primary key,
    given_name text not null,
    family_name text not null,
    name_key text not null,
    birth_date date not null,
    email text,
    phone text,
    account uuid,
    zone text not null,
    language text not null,
    region text not null,
    status text not null,
    care_team jsonb not null,
    merged_into uuid references patient (id),
    version bigint not null
);
create index patient_born on patient (birth_date);
create index patient_email on patient (lower(email));
create index patient_phone on patient (phone);
create unique index patient_account on patient (account) where status <> 'merged';
-- One row for each name and birth date: who registers a person takes it, so that two at once see each other.
create table person_key (
    name_key text not null,
    birth_date date not null,
    version bigint not null,
    primary key (name_key, birth_date)
);
-- What was said about who is who, by whom and why. Never changed: an error is another row.
create table identity_fact (
    id uuid primary key,
    kind text not null check (kind in ('registered', 'linked', 'merged', 'unmerged', 'entered-in-error')),
    patient uuid not null,
    other uuid,
    by_person text not null,
    reason text not null,
    at timestamptz not null
);
create index identity_fact_patient on identity_fact (patient, at);
create table care_case (
    id uuid primary key,
    patient uuid not null references patient (id),
    therapy text not null,
    opened_at timestamptz not null,
    opened_by text not null,
    status text not null check (status in ('open', 'closed')),
    version bigint not null
);
create unique index care_case_open on care_case (patient, therapy) where status = 'open';
