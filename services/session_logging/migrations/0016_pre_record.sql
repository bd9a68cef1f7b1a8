-- What became of an adverse event, and what its grade is proposed by beside pressures: what was needed, how much is eaten.
alter table adverse_event add column outcome text, add column intervention text, add column oral_intake text;
-- What the newest signed version of a plan orders: a session that waits or is paused may take it.
alter table plan_fact add column terms jsonb;
