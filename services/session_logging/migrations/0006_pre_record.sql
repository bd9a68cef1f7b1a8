-- The record of a session is signed and locked; after that only addenda are written.
alter table session add column locked_at timestamptz;
