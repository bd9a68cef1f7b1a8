-- Each batch of a monitor: how far its clock was from the clinic's, and what became of its rows. Never changed.
create table batch (
    id uuid primary key,
    session uuid not null references session (id),
    device text not null,
    received_at timestamptz not null,
    offset_ms bigint,
    accepted integer not null,
    duplicates integer not null,
    refused jsonb not null
);
create index batch_session on batch (session, received_at, id);
-- A row is known by its instant, too.
create index sample_instant on sample (session, device, at);
