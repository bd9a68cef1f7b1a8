-- Where the log of a session stands. Whoever records writes it, so of two who record at once one looks again; STOP does not.
create table log_head (
    session uuid primary key references session (id),
    version bigint not null
);
