-- A service's role sees the sessions of others without their snapshot or age, so it could not name who holds everything back.
-- A number and an age are all that it is told: no query text.
create function oldest_transaction(out pid integer, out age interval)
    language sql volatile security definer set search_path = pg_catalog, pg_temp
    as $$ select a.pid, clock_timestamp() - a.xact_start from pg_stat_activity a
          where a.backend_xmin is not null and a.pid <> pg_backend_pid() order by a.xact_start limit 1 $$;
revoke all on function oldest_transaction() from public;
