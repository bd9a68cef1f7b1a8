-- Who has to do with which account: the ledger's own copy, which its policies read.
create table patient_fact (account text not null, person text not null, primary key (account, person));
create table terms (
    account text primary key,
    label text not null,
    owner uuid not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    zone text not null,
    fee numeric not null,
    fee_unit text not null,
    active boolean not null,
    units bigint not null,
    version bigint not null
);
