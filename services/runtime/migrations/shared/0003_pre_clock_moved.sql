-- Whoever waits for the clinic clock is told that it was moved. Only a hint: each also looks by itself, once in a poll.
create function tell_clock_moved() returns trigger language plpgsql as $$ begin notify clinic_clock; return null; end $$;
revoke all on function tell_clock_moved() from public;
create trigger clock_moved after update on clinic_clock for each statement execute function tell_clock_moved();
