-- A person's merged records are looked for whenever a rule asks about that person.
create index patient_fact_merged on patient_fact (merged_into) where merged_into is not null;
