import type { Queryable } from '../../../src/postgres/queryable.ts'

/**
 * The observers inside the test database: a schema of the test's own, with triggers that write down every committed
 * change of a job, of a position, of a dead letter, of a replay, of a pause and of the audit, who made it (the connection's
 * `application_name`), in which transaction and under which token, and the table in which the scenario's handlers leave
 * their effects. What is rolled back leaves no trace here either.
 */
export async function installShadow(db: Queryable): Promise<void> {
  await db.query(SQL)
  await db.query(OPERATED_SQL)
}

const SQL = `
create schema observer;

create table observer.effect (
  seq bigint generated always as identity primary key,
  source text not null,
  name text not null,
  event_id text not null,
  key text,
  job_id uuid,
  attempt integer,
  topic_id uuid,
  partition integer,
  "offset" bigint,
  generation integer,
  execution text,
  actor text not null default current_setting('application_name')
);

create table observer.job_change (
  seq bigint generated always as identity primary key,
  at timestamptz not null default statement_timestamp(),
  xid text not null default pg_current_xact_id()::text,
  actor text not null default current_setting('application_name'),
  in_table text not null,
  op text not null,
  id uuid not null,
  kind text not null,
  from_state text,
  to_state text,
  attempt integer not null,
  max_attempts integer not null,
  crashes integer not null,
  token uuid,
  old_token uuid,
  holder_alive boolean not null,
  origin json,
  scheduled_at timestamptz not null,
  attempted_at timestamptz
);

create function observer.note_job() returns trigger language plpgsql as $$
declare
  now_row record;
  old_state text;
  new_state text;
  old_holder uuid;
  old_claim uuid;
begin
  now_row := case when tg_op = 'DELETE' then old else new end;
  if tg_op <> 'INSERT' then
    old_state := old.state;
    old_holder := old.process_id;
    old_claim := old.token;
  end if;
  if tg_op <> 'DELETE' then
    new_state := new.state;
  end if;
  insert into observer.job_change (in_table, op, id, kind, from_state, to_state, attempt, max_attempts, crashes, token,
    old_token, holder_alive, origin, scheduled_at, attempted_at)
  values (case when tg_table_name = 'job' then 'job' else 'history' end, lower(tg_op), now_row.id, now_row.kind,
    old_state, new_state, now_row.attempt, now_row.max_attempts, now_row.crashes, now_row.token, old_claim,
    exists (select from millrace.process p where p.id = old_holder and p.expires_at > clock_timestamp()),
    now_row.meta::json -> 'origin', now_row.scheduled_at, now_row.attempted_at);
  return null;
end $$;
create trigger observed after insert or update or delete on millrace.job
  for each row execute function observer.note_job();
create trigger observed after insert or update or delete on millrace.job_history
  for each row execute function observer.note_job();

create table observer.position_change (
  seq bigint generated always as identity primary key,
  xid text not null default pg_current_xact_id()::text,
  actor text not null default current_setting('application_name'),
  application text not null,
  topic_id uuid not null,
  partition integer not null,
  owner uuid,
  epoch bigint not null,
  next_offset bigint not null,
  generation integer not null
);
create function observer.note_position() returns trigger language plpgsql as $$
begin
  insert into observer.position_change (application, topic_id, partition, owner, epoch, next_offset, generation)
  values (new.application, new.topic_id, new.partition, new.owner, new.epoch, new.next_offset, new.generation);
  return null;
end $$;
create trigger observed after insert or update on millrace.position
  for each row execute function observer.note_position();
`

/** What operators change, and what replays do with dead letters. */
const OPERATED_SQL = `
create table observer.letter_change (
  seq bigint generated always as identity primary key,
  xid text not null default pg_current_xact_id()::text,
  actor text not null default current_setting('application_name'),
  id bigint not null,
  stage text not null,
  job_id uuid,
  from_state text,
  to_state text,
  edited boolean not null,
  revision integer not null,
  replays integer not null
);
create function observer.note_letter() returns trigger language plpgsql as $$
declare
  now_row record;
begin
  now_row := case when tg_op = 'DELETE' then old else new end;
  if tg_op = 'UPDATE' and old.state = new.state and old.revision = new.revision and old.replays = new.replays then
    return null;
  end if;
  insert into observer.letter_change (id, stage, job_id, from_state, to_state, edited, revision, replays)
  values (now_row.id, now_row.stage, now_row.job_id, case when tg_op <> 'INSERT' then old.state end,
    case when tg_op <> 'DELETE' then new.state end, tg_op = 'UPDATE' and old.revision <> new.revision, now_row.revision,
    now_row.replays - case when tg_op = 'UPDATE' then old.replays else 0 end);
  return null;
end $$;
create trigger observed after insert or update or delete on millrace.dead_letter
  for each row execute function observer.note_letter();

create table observer.replay_change (
  seq bigint generated always as identity primary key,
  xid text not null default pg_current_xact_id()::text,
  actor text not null default current_setting('application_name'),
  id bigint not null,
  of_records boolean not null,
  dry_run boolean not null,
  total bigint not null,
  from_state text,
  to_state text not null,
  ordered boolean not null,
  passed bigint not null,
  failed bigint not null,
  skipped bigint not null,
  parked bigint not null
);
create function observer.note_replay() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into observer.replay_change (id, of_records, dry_run, total, to_state, ordered, passed, failed, skipped, parked)
    values (new.id, false, new.dry_run, new.total, new.state, true, new.passed, new.failed, new.skipped, new.parked);
  elsif (old.state, old.passed, old.failed, old.skipped, old.parked)
      is distinct from (new.state, new.passed, new.failed, new.skipped, new.parked) then
    insert into observer.replay_change (id, of_records, dry_run, total, from_state, to_state, ordered, passed, failed,
      skipped, parked)
    values (new.id, new.handler is not null, new.dry_run, new.total, old.state, new.state,
      new.epoch > old.epoch and new.owner is null, new.passed - old.passed, new.failed - old.failed,
      new.skipped - old.skipped, new.parked - old.parked);
  end if;
  return null;
end $$;
create trigger observed after insert or update on millrace.replay
  for each row execute function observer.note_replay();

create table observer.outcome_change (
  seq bigint generated always as identity primary key,
  xid text not null default pg_current_xact_id()::text,
  op text not null,
  replay_id bigint not null,
  dead_letter_id bigint not null,
  outcome text not null
);
create function observer.note_outcome() returns trigger language plpgsql as $$
declare
  now_row record;
begin
  now_row := case when tg_op = 'DELETE' then old else new end;
  insert into observer.outcome_change (op, replay_id, dead_letter_id, outcome)
  values (lower(tg_op), now_row.replay_id, now_row.dead_letter_id, now_row.outcome);
  return null;
end $$;
create trigger observed after insert or update or delete on millrace.replay_outcome
  for each row execute function observer.note_outcome();

create table observer.pause_change (
  seq bigint generated always as identity primary key,
  xid text not null default pg_current_xact_id()::text,
  actor text not null default current_setting('application_name'),
  op text not null,
  scope text not null
);
create function observer.note_pause() returns trigger language plpgsql as $$
declare
  now_row record;
begin
  now_row := case when tg_op = 'DELETE' then old else new end;
  -- What has expired is cleared away by whoever comes by.
  if tg_op <> 'DELETE' or now_row.expires_at is null or now_row.expires_at > clock_timestamp() then
    insert into observer.pause_change (op, scope)
    values (lower(tg_op), concat_ws('/', now_row.application, now_row.topic, now_row.partition));
  end if;
  return null;
end $$;
create trigger observed after insert or update or delete on millrace.pause
  for each row execute function observer.note_pause();

create table observer.action_change (
  seq bigint generated always as identity primary key,
  xid text not null default pg_current_xact_id()::text,
  op text not null,
  id bigint not null,
  operator text not null,
  action text not null,
  count bigint not null,
  subject text
);
create function observer.note_action() returns trigger language plpgsql as $$
declare
  now_row record;
begin
  now_row := case when tg_op = 'DELETE' then old else new end;
  insert into observer.action_change (op, id, operator, action, count, subject)
  values (lower(tg_op), now_row.id, now_row.operator, now_row.action, now_row.count,
    case when now_row.action = 'dlq.edit' then now_row.filter ->> 'id'
      when now_row.action like 'replays.%' then now_row.filter ->> 'replay'
      when now_row.action ~ '^(dlq|records)[.](replay|dry-run)$' then now_row.detail ->> 'replay' end);
  return null;
end $$;
create trigger observed after insert or update or delete on millrace.operator_action
  for each row execute function observer.note_action();
`
