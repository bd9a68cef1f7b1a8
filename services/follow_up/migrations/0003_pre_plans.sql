-- Plans that were held, released or stopped, as treatment_planning tells of them: one that is not active reminds nobody.
create table plan_fact (
    plan uuid primary key,
    patient uuid not null,
    active boolean not null
);
create index plan_fact_patient on plan_fact (patient) where not active;
