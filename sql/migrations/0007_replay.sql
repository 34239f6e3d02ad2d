-- Replays: an operator orders one, the application itself carries it out, chunk by chunk. A chunk's effects, the outcome
-- of each of its dead letters and the fence of the replay are one transaction, so a replay that is killed goes on where
-- it was, and no dead letter is handled twice by it.

alter table millrace.dead_letter
  -- In how many replays it has failed. As often as a replay allows, it is parked: replays leave it out until told otherwise.
  add column replays integer not null default 0,
  -- Counts edits; what was edited stands in dead_letter_edit, the original stays where it is.
  add column revision integer not null default 0,
  add column closed_at timestamptz,
  drop constraint dead_letter_state_check,
  add constraint dead_letter_state_check check (state in ('open', 'replayed', 'discarded', 'parked'));
create index dead_letter_replayable on millrace.dead_letter (application, id) where state = 'open';

create table millrace.dead_letter_edit (
  dead_letter_id bigint      not null references millrace.dead_letter on delete cascade,
  revision       integer     not null,
  -- What a replay hands over in place of the original's value.
  value          bytea,
  edited_by      text        not null,
  reason         text,
  edited_at      timestamptz not null default clock_timestamp(),
  primary key (dead_letter_id, revision)
);

create table millrace.replay (
  id          bigint      generated always as identity primary key,
  -- Null: jobs that no application made.
  application text,
  -- What is worked through, as it was ordered.
  selection   json        not null,
  -- The handler that past records of a topic go to; null: dead letters are worked through.
  handler     text,
  topic       text,
  topic_id    uuid,
  -- Everything below has its outcome; the end was fixed when it was ordered, so it never chases what it makes itself.
  next_id     bigint      not null,
  end_id      bigint      not null,
  dry_run     boolean     not null,
  -- Dead letters a second; null: as fast as it goes.
  rate        double precision check (rate > 0),
  -- So many are tried first; a failure among them pauses the replay.
  canary      integer     check (canary > 0),
  -- So many failures, or such a share of those that were tried, end it.
  stop_after  integer     check (stop_after > 0),
  -- As it was ordered; each time it is resumed after that, so many more are allowed.
  stop_every  integer,
  stop_share  double precision check (stop_share > 0 and stop_share <= 1),
  max_replays integer     not null,
  state       text        not null default 'running' check (state in ('running', 'paused', 'finished', 'stopped', 'aborted')),
  -- Why it is in this state, where that is worth saying.
  note        text,
  -- How many fitted when it was ordered.
  total       bigint      not null,
  passed      bigint      not null default 0,
  failed      bigint      not null default 0,
  skipped     bigint      not null default 0,
  -- Of those that failed.
  parked      bigint      not null default 0,
  owner       uuid,
  epoch       bigint      not null default 0,
  ordered_by  text        not null,
  reason      text,
  created_at  timestamptz not null default clock_timestamp(),
  started_at  timestamptz,
  finished_at timestamptz,
  updated_at  timestamptz not null default clock_timestamp()
);
create index replay_running on millrace.replay (id) where state = 'running';

create table millrace.replay_outcome (
  replay_id      bigint      not null references millrace.replay on delete cascade,
  dead_letter_id bigint      not null,
  -- 'not-run': only looked at, for a dry run cannot call what a job calls.
  outcome        text        not null check (outcome in ('passed', 'failed', 'skipped', 'not-run')),
  -- Why, where it did not pass; and the fingerprint of that.
  error          json,
  fingerprint    text,
  at             timestamptz not null default clock_timestamp(),
  primary key (dead_letter_id, replay_id)
);
create index replay_outcome_why on millrace.replay_outcome (replay_id, fingerprint) where outcome in ('failed', 'not-run');

-- The throw-away position of a replay of past records, and where it ends.
create table millrace.replay_range (
  replay_id   bigint  not null references millrace.replay on delete cascade,
  partition   integer not null,
  next_offset bigint  not null,
  end_offset  bigint  not null,
  primary key (replay_id, partition)
);

-- Why past records did not pass, by cause: there are no dead letters yet that could tell.
create table millrace.replay_failure (
  replay_id   bigint not null references millrace.replay on delete cascade,
  fingerprint text   not null,
  count       bigint not null,
  error       json   not null,
  -- Where the first one stands: partition and offset.
  partition   integer not null,
  "offset"    bigint not null,
  primary key (replay_id, fingerprint)
);
