-- Each move of a session: who, since when it was true, when it was recorded. Never changed.
create table move (
    id uuid primary key,
    session uuid not null references session (id),
    from_state text not null,
    to_state text not null,
    ending text,
    at timestamptz not null,
    recorded_at timestamptz not null,
    by_person text not null
);
create index move_session on move (session, recorded_at, id);
-- Since when a session stands where it stands.
alter table session add column moved_at timestamptz;
