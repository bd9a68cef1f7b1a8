-- Everything that happened to a patient, as every service told it: a read model that a replay makes anew.
create table journey (
    patient uuid not null,
    at timestamptz not null,
    id uuid not null,
    type text not null,
    source text not null,
    sequence bigint not null,
    data jsonb not null,
    primary key (patient, at, id)
);
