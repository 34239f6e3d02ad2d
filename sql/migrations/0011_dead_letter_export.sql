-- Dead letters that are to be copied to a topic of the log. The row is the dead letter; the copy is for other tools.
create table millrace.dead_letter_export (
  -- Whose are copied from now on.
  application text        primary key,
  since       timestamptz not null default clock_timestamp()
);
alter table millrace.dead_letter
  -- Null: nobody asked for a copy. 'failed': the log does not take it, and never will.
  add column exported text check (exported in ('due', 'done', 'failed'));
create index dead_letter_due on millrace.dead_letter (application, id) where exported = 'due';
