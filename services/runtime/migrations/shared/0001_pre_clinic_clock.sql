-- Once per database, in schema "runtime": the clinic clock. All clinical time is the database's clock plus this offset.
-- The function is all that a service may use; only the owner (`telemed clock advance`) moves the offset.
create table clinic_clock (
    only_row boolean primary key default true check (only_row),
    shift interval not null default interval '0',
    moved_by text not null default '',
    moved_at timestamptz not null default clock_timestamp(),
    check (shift >= interval '0')
);
insert into clinic_clock default values;

create function clinic_now() returns timestamptz
    language sql stable security definer set search_path = runtime, pg_temp
    as $$ select clock_timestamp() + shift from clinic_clock $$;
revoke all on function clinic_now() from public;

-- What people did to the deployment as a whole, and to no single service: moved the clock, made topics, migrated this schema.
create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null,
    action text not null,
    target text not null,
    reason text not null default ''
);
