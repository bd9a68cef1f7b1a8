-- Where the fold of a log stands, for whoever continues it: of the version of the log that `folded` names, and of no other.
alter table log_head add column fold jsonb, add column folded bigint;
