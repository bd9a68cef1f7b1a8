-- What a licensed clinician decided and signed, with exactly what was shown to them. Never changed: a renewal is another row.
create table decision (
    id uuid primary key,
    care_case uuid not null references care_case (id),
    kind text not null,
    evaluation uuid not null references evaluation (id),
    content jsonb not null,
    signature uuid not null references signature (id),
    signed_by text not null,
    signed_at timestamptz not null
);
create index decision_case on decision (care_case, signed_at desc);
