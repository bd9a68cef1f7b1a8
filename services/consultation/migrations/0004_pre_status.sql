-- What a patient is to the clinic is said like who they are: by whom, why, and since when it is so.
alter table identity_fact drop constraint identity_fact_kind_check;
alter table identity_fact add constraint identity_fact_kind_check check (
    kind in ('registered', 'linked', 'merged', 'unmerged', 'entered-in-error', 'active', 'inactive', 'deceased')
);
alter table identity_fact add column since timestamptz;
