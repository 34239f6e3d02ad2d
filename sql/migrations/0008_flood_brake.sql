-- The flood brake: partitions that are stopped because most of their records fail alike, and failures that somebody has
-- said are really bad.

-- Such a stop is a finding like any other: the position is halted, and the row says why, until somebody decides.
-- {"flood": {"fingerprint", "failed", "records", "keys", "handler", "stage", "error", "offset", "codeVersion"}} is its evidence.
alter table millrace.gap
  drop constraint gap_code_check,
  add constraint gap_code_check check (code in
    ('topic-recreated', 'topic-deleted', 'before-start', 'behind-end', 'diverged', 'corrupt', 'flood')),
  drop constraint gap_decision_check,
  add constraint gap_decision_check check (decision in ('rewind', 'accept', 'adopt', 'try-again', 'accept-failures'));

-- The newest one of a partition says up to where its records are looked at more strictly after they were tried again.
create index gap_flood on millrace.gap (application, topic_id, partition, id) where code = 'flood';

-- Failures that do not stop a partition any more: they become dead letters, however many there are.
create table millrace.accepted_failure (
  application text        not null,
  fingerprint text        not null,
  accepted_by text        not null,
  reason      text        not null,
  accepted_at timestamptz not null default clock_timestamp(),
  expires_at  timestamptz not null,
  primary key (application, fingerprint)
);
