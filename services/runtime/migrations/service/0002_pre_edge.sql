-- The edge's tables, the same in every service's schema. Append-only: what was signed, and who broke the glass.

create table signature (
    id uuid primary key,
    subject text not null,
    version bigint not null,
    shown_hash bytea not null check (octet_length(shown_hash) = 32),
    meaning text not null,
    signer text not null,
    issuer text not null,
    licence text not null,
    authenticated_at timestamptz not null,
    signed_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    unique (subject, version, meaning, signer)
);

create table broken_glass (
    id uuid primary key,
    person text not null,
    patient uuid not null,
    reason text not null,
    granted_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null
);
create index broken_glass_person on broken_glass (person, patient, expires_at);
