create table account (id text primary key, balance bigint not null check (balance >= 0), version bigint not null);
create table entry (id text primary key, account text not null references account (id), amount bigint not null);
create table mirror (account text primary key, total bigint not null, count bigint not null, version bigint not null);
create table total (account text primary key, total bigint not null);
-- No uniqueness on purpose: a doubled effect must show in a count, not hide behind an error.
create table effect (
    id bigint generated always as identity primary key,
    consumer text not null,
    event_id uuid not null,
    source text not null,
    sequence bigint not null,
    amount bigint not null,
    at timestamptz not null default clock_timestamp()
);
create table poison (account text primary key);
create table fired (
    id bigint generated always as identity primary key,
    dedupe_key text not null,
    due_at timestamptz not null,
    at timestamptz not null
);
