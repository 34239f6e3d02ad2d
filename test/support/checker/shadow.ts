import type { Queryable } from '../../../src/postgres/queryable.ts'

/**
 * The observers inside the test database: a schema of the test's own, with triggers that write down every committed
 * change of a job and of a position, who made it (the connection's `application_name`) and under which token, and the
 * table in which the scenario's handlers leave their effects. What is rolled back leaves no trace here either.
 */
export async function installShadow(db: Queryable): Promise<void> {
  await db.query(SQL)
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
