-- The database's clock may be set back (a time server, a failover to another machine). Clinic time goes on all the same: minutes
-- that count are running in somebody's chair. What it stands ahead for that is `held`, until an operator gives it back.
alter table clinic_clock
    add column seen timestamptz not null default clock_timestamp(),
    add column held interval not null default '0';

-- Called every second or so by each service: notes how far clinic time is, every five seconds, and puts it forward to there when it
-- has fallen behind. Returns by how much, to the one caller who did it.
create function keep_clock() returns interval
    language plpgsql security definer set search_path = runtime, pg_temp
    as $$
declare
    behind interval;
begin
    select seen - clock_timestamp() - shift into behind from clinic_clock;
    if behind < interval '-5 s' then
        update clinic_clock set seen = clock_timestamp() + shift;
    elsif behind > interval '0' then
        update clinic_clock set shift = shift + behind, held = held + behind, moved_by = 'runtime', moved_at = clock_timestamp()
        where seen > clock_timestamp() + shift;
        if found then
            insert into audit (actor, action, target) values ('runtime', 'clock.hold', behind::text);
            return behind;
        end if;
    end if;
    return null;
end $$;
revoke all on function keep_clock() from public;

-- Noting how far it is moves no clock and need wake nobody.
drop trigger clock_moved on clinic_clock;
create trigger clock_moved after update of shift on clinic_clock for each statement execute function tell_clock_moved();
