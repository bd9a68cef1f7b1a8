-- A session, an alert or a task as it was told: the newest events about it, by kind. What the board shows is derived from them.
-- position: where its last change stands in the stream; null until that is given, which happens after the commit.
create table item (
    kind text not null check (kind in ('alert', 'session', 'task')),
    id uuid not null,
    patient uuid not null,
    facts jsonb not null,
    open boolean not null,
    starts_at timestamptz,
    position bigint,
    primary key (kind, id)
);
create index item_open on item (kind) where open;
create index item_starts on item (starts_at) where kind = 'session';
create index item_position on item (position);
create index item_unplaced on item (kind, id) where position is null;

-- The last position that was given. since: rows are taken away only when the board is made anew; then another history begins,
-- and no older cursor fits it.
create table sequencer (
    only_row boolean primary key default true check (only_row),
    position bigint not null default 0,
    since timestamptz not null default clock_timestamp()
);
insert into sequencer default values;

create function item_taken_away() returns trigger language plpgsql
    as $$ begin update sequencer set since = clock_timestamp(); return null; end $$;
create trigger item_taken_away after delete on item for each statement execute function item_taken_away();

-- Wakes whoever streams, in every replica. Only a hint: they look by themselves as well.
create function item_told() returns trigger language plpgsql
    as $$ begin perform pg_notify('staff_dashboard', ''); return null; end $$;
create trigger item_told after insert or update on item for each statement execute function item_told();
