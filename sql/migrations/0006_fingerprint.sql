-- What a dead letter is grouped by, and where it came from.
alter table millrace.dead_letter
  -- Sixteen hexadecimal digits, the same for failures with the same cause. '': set aside before there were any.
  add column fingerprint         text     not null default '',
  -- Of the rules that made it; prints of different versions are not to be compared.
  add column fingerprint_version smallint,
  -- The log that the origin is in: Kafka's id of the cluster, or 'table'.
  add column cluster             text,
  -- Who produced the record: CloudEvents' source.
  add column producer            text;
-- Groups of one state are walked in pages, and the newest or oldest of a group is found at once.
create index dead_letter_group on millrace.dead_letter (state, fingerprint, id);
