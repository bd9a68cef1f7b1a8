-- How drug was thrown away.
alter table waste add column method text;
