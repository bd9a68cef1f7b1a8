-- Samples by month of the instant at which they were measured, so that old ones go by dropping a table (ADR 34). What there was
-- is where everything goes that has no month: `telemed samples keep` makes months, and moves into them.
alter table sample rename to sample_outside;
alter table sample_outside drop constraint sample_pkey;
drop index sample_instant;
create table sample (
    session uuid not null references session (id),
    device text not null,
    seq bigint not null,
    at timestamptz not null,
    recorded_at timestamptz not null,
    heart_rate integer,
    resp_rate integer,
    spo2 integer,
    origin text,
    -- A number is known again by whoever ingests, under the head of the log: a key over all months has to name the instant.
    primary key (session, device, at)
) partition by range (at);
create index sample_number on sample (session, device, seq);
alter table sample attach partition sample_outside default;
