-- In which room of the platform a connection was: one that was closed is opened anew under the same name.
alter table presence add column room text not null default '';
