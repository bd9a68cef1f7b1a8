-- Who did what to whose record, from where, under which policy, in which request.
alter table audit
    add column patient text not null default '',
    add column client text not null default '',
    add column origin text not null default '',
    add column policy text not null default '',
    add column request text not null default '';
create index audit_patient on audit (patient, id) where patient <> '';

-- Seals over committed rows, written by the sealer's role alone. ids: which rows; a late commit has a lower id than rows that
-- are sealed already, so a seal names its rows one by one, as ranges.
create table audit_seal (
    number bigint primary key check (number >= 1),
    ids int8multirange not null,
    count integer not null check (count >= 1),
    rows_hash bytea not null check (octet_length(rows_hash) = 32),
    previous bytea not null check (octet_length(previous) = 32),
    sealed_at timestamptz not null,
    key text not null,
    hash bytea not null check (octet_length(hash) = 32),
    signature bytea not null check (octet_length(signature) = 64)
);
