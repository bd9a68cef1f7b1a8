-- Something that was not thrown away after all, or not as much: it stays, with the reason, and counts no longer.
alter table waste add column error_reason text, add column error_by text, add column error_at timestamptz;
