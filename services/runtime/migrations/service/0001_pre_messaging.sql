-- The messaging kernel's tables, the same in every service's schema.

-- epoch: raised after a restore, so that consumers can tell the new history from the lost one.
create table kernel (
    only_row boolean primary key default true check (only_row),
    epoch integer not null default 1 check (epoch >= 1),
    tzdata text not null default ''
);
insert into kernel default values;

-- The last event of each of our aggregates. Locked while a sequence is given out, so that sequences are contiguous.
create table stream (
    source text primary key,
    epoch integer not null default 1,
    sequence bigint not null default 0,
    last_event_id uuid not null default '00000000-0000-0000-0000-000000000000'
);

-- Append-only and kept: what may be replayed, and the clinical history. Column names map to the usual outbox contract
-- (id, aggregate, type, key, payload), so a clinic may attach change-data capture instead of the relay.
create table outbox (
    id bigint generated always as identity primary key,
    event_id uuid not null unique,
    source text not null,
    epoch integer not null,
    sequence bigint not null check (sequence >= 1),
    type text not null,
    topic text not null,
    key text not null,
    lane smallint not null check (lane >= 0),
    body bytea not null check (octet_length(body) <= 65536),
    traceparent text,
    recorded_at timestamptz not null default clock_timestamp(),
    unique (source, sequence)
);
-- What the broker has not acknowledged. Apart from the outbox, because marking rows there makes the planner walk the
-- published ones: measured 7 -> 56 ms per batch with a backlog, this table stays flat.
create table outbox_pending (
    lane smallint not null,
    id bigint not null references outbox (id),
    primary key (lane, id)
);
alter table outbox_pending set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

create table idempotency (
    issuer text not null,
    subject text not null,
    client text not null,
    route text not null,
    key text not null,
    body_hash bytea not null,
    status smallint,
    reply bytea,
    created_at timestamptz not null default clock_timestamp(),
    primary key (issuer, subject, client, route, key)
);
create index idempotency_created_at on idempotency (created_at);

create table consumer_cursor (
    consumer text not null,
    source text not null,
    epoch integer not null,
    sequence bigint not null,
    event_id uuid not null,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (consumer, source)
);
-- watermark: the instant before which everything committed by the topic's owner has been read here.
-- replayed: set when the end marker of a replay was read.
create table consumer_partition (
    consumer text not null,
    topic text not null,
    partition integer not null,
    watermark timestamptz,
    replayed boolean not null default false,
    primary key (consumer, topic, partition)
);
create table parked (
    id bigint generated always as identity primary key,
    consumer text not null,
    source text not null,
    epoch integer not null,
    sequence bigint not null,
    event_id uuid not null,
    type text not null,
    topic text not null,
    partition integer not null,
    record_offset bigint not null,
    key bytea,
    headers jsonb not null,
    body bytea,
    reason text not null,
    error_class text not null default '',
    attempts integer not null default 0,
    next_at timestamptz,
    status text not null default 'waiting' check (status in ('waiting', 'dead')),
    parked_at timestamptz not null default clock_timestamp(),
    alarmed_at timestamptz,
    unique (consumer, source, epoch, sequence, event_id)
);
create index parked_head on parked (consumer, source, sequence);
create index parked_due on parked (next_at) where status = 'waiting';

create table timer (
    id bigint generated always as identity primary key,
    kind text not null,
    dedupe_key text not null unique,
    subject text not null,
    due_at timestamptz not null,
    local_time timestamp,
    zone text,
    payload jsonb not null default '{}',
    expires_at timestamptz,
    status text not null default 'waiting'
        check (status in ('waiting', 'sending', 'done', 'cancelled', 'missed', 'uncertain', 'failed')),
    attempts integer not null default 0,
    lease_until timestamptz,
    finished_at timestamptz,
    check ((local_time is null) = (zone is null))
);
-- Only waiting timers stand in it, in the order in which they are claimed: a million future ones cost nothing.
create index timer_due on timer (due_at, id) where status = 'waiting';
create index timer_lease on timer (lease_until) where status = 'sending';
create index timer_subject on timer (subject) where status = 'waiting';

create table page (
    id uuid primary key,
    code text not null,
    dedupe_key text not null unique,
    subject text not null,
    raised_at timestamptz not null,
    status text not null default 'open' check (status in ('open', 'acknowledged')),
    acknowledged_by text,
    acknowledged_at timestamptz
);
create index page_open on page (raised_at) where status = 'open';
create table page_attempt (
    page_id uuid not null references page (id),
    step integer not null,
    channel text not null,
    recipient text not null,
    outcome text not null,
    at timestamptz not null default clock_timestamp()
);
create index page_attempt_page on page_attempt (page_id);

create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null,
    action text not null,
    target text not null,
    reason text not null default ''
);
