-- Who works here. The name stays here: events carry the id.
create table staff (
    id uuid primary key,
    display_name text not null,
    roles text[] not null,
    credentials jsonb not null,
    active boolean not null,
    version bigint not null
);
create table site (
    id uuid primary key,
    display_name text not null,
    region text not null,
    zone text not null,
    chairs integer not null,
    active boolean not null,
    version bigint not null
);
create table calendar (
    only_row boolean primary key default true check (only_row),
    zone text not null,
    hours jsonb not null,
    closed date[] not null,
    version bigint not null
);
create table shift (
    id uuid primary key,
    role text not null,
    staff uuid not null references staff (id),
    pager text not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at > starts_at),
    active boolean not null,
    version bigint not null
);
create index shift_span on shift (role, ends_at) where active;
-- Which roles must never be without somebody on duty.
create table coverage (
    role text primary key,
    hours text not null check (hours in ('always', 'open')),
    notice interval not null,
    version bigint not null
);
