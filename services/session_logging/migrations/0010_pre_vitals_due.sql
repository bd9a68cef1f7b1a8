-- Sets of vitals that were not taken when they were due; what is overdue is an alert. Never changed.
create table vitals_due (
    session uuid not null references session (id),
    due_at timestamptz not null,
    raised_at timestamptz not null,
    primary key (session, due_at)
);
