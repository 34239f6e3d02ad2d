-- Operating: what a log was found to lack and what was decided about it, pauses, and the audit of operators' actions.

-- A checkpoint per batch: its last record, and the hash of its content. When the log turns out to be another than it was,
-- the newest one that still matches says how far it is the same.
alter table millrace.batch add column last_offset bigint, add column last_hash bytea;

-- What was found wrong with a log at an application's position, and what was decided about it. While nothing is decided
-- the position is halted; the row stays when the position is gone.
create table millrace.gap (
  id          bigint      generated always as identity primary key,
  application text        not null,
  topic       text        not null,
  topic_id    uuid        not null,
  partition   integer     not null,
  -- Of the position when it was stopped.
  generation  integer     not null,
  code        text        not null check (code in
    ('topic-recreated', 'topic-deleted', 'before-start', 'behind-end', 'diverged', 'corrupt')),
  -- In words for people.
  found       text        not null,
  -- What is missing or not what it was, from (included) to (not included). Null: that bound is not known.
  from_offset bigint,
  to_offset   bigint,
  -- {"position", "logStart", "logEnd", "lastOffset", "expectedHash", "foundHash", "newTopicId"}
  evidence    json        not null,
  found_at    timestamptz not null default clock_timestamp(),
  decision    text        check (decision in ('rewind', 'accept', 'adopt')),
  decided_by  text,
  decided_at  timestamptz,
  reason      text,
  -- {"topicId", "next", "generation", "reread", "givenUp"}
  outcome     json,
  constraint gap_decided check ((decision is null) = (decided_at is null) and (decision is null) = (decided_by is null))
);
-- One open finding per position.
create unique index gap_open on millrace.gap (application, topic_id, partition) where decision is null;

-- Partitions that are not read until somebody resumes them. By the topic's name, so that it lasts over partitions that are
-- added and topics that are made anew.
create table millrace.pause (
  application text        not null,
  -- Null: all topics of the application, or all partitions of the topic.
  topic       text,
  partition   integer     check (partition is null or topic is not null),
  paused_by   text        not null,
  reason      text        not null,
  paused_at   timestamptz not null default clock_timestamp(),
  -- Null: until it is resumed.
  expires_at  timestamptz,
  unique nulls not distinct (application, topic, partition)
);

-- What operators did, each row written in the transaction that did it.
create table millrace.operator_action (
  id       bigint      generated always as identity primary key,
  at       timestamptz not null default clock_timestamp(),
  operator text        not null,
  -- `consumers.seek`, `jobs.retry`, …
  action   text        not null,
  -- What was asked for.
  filter   json        not null,
  -- How many partitions or jobs it changed.
  count    bigint      not null,
  reason   text,
  -- What became of each, where that is more than the number.
  detail   json
);
