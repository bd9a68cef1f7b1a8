-- Every grave level that another service has found, which no calmer answer takes back: only a prescriber's decision answers it
-- (decision A7). `risk_fact` has the last one of each service.
create table risk_found (
    patient uuid not null,
    owner text not null,
    level text not null,
    assessed_at timestamptz not null,
    heard_at timestamptz not null,
    primary key (patient, owner, level, assessed_at)
);
