-- A test that was found abnormal or positive since the decision on the case: a prescriber has to look at it.
alter table case_fact add column result text;
