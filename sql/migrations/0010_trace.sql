-- The timeline: what led to what. It is derived from what jobs, events, batches and dead letters carry anyway; here is what
-- it takes to find them, and the two things that nobody else writes down: declared effects, and attempts that were lost.

-- Something that a handler says it did. Written in the transaction that completes its job or moves its position, or with
-- the outcome of the attempt that failed.
create table millrace.effect (
  -- The job whose attempt it was; null: a handler of an application, in the transaction of its batch.
  job_id      uuid,
  attempt     smallint,
  -- The event that the handler was given; null: a job.
  event_id    text,
  application text,
  handler     text        not null,
  name        text        not null,
  details     json,
  -- By the clock of the process that did it.
  at          timestamptz not null,
  written_at  timestamptz not null default clock_timestamp(),
  check ((job_id is null) <> (event_id is null))
) partition by range (written_at);
create index effect_job on millrace.effect (job_id) where job_id is not null;
-- The beginning of an id is enough to find it, and ids of others may be long.
create index effect_event on millrace.effect (left(event_id, 64)) where event_id is not null;

-- Makes today's partition when nobody has kept up for days: what is declared in the transaction of a batch must not make
-- that batch fail.
create function millrace.effect_append(
  job_ids uuid[], attempts smallint[], event_ids text[], applications text[], handlers text[], names text[],
  all_details text[], ats timestamptz[]
) returns void language plpgsql as $$
begin
  perform millrace.ensure_days('effect', 0);
  insert into millrace.effect (job_id, attempt, event_id, application, handler, name, details, at)
  select u.job_id, u.attempt, u.event_id, u.application, u.handler, u.name, u.details::json, u.at
  from unnest(job_ids, attempts, event_ids, applications, handlers, names, all_details, ats)
    u(job_id, attempt, event_id, application, handler, name, details, at);
end $$;

select millrace.ensure_days('effect', 3);

-- Finished jobs by what they began with: the first characters after the name, with what follows in the text where the id is
-- shorter. Cut out, not parsed, for two reasons: it cannot fail, and an index that does would keep jobs from being finished;
-- and it costs 2 µs beside the 18 of a finished job's row, where a pattern costs 18 and parsing 6. Only we write `meta`, and
-- a quotation mark inside of a value is escaped.
create index job_history_correlation on millrace.job_history
  (left(split_part(meta, '"correlationId":"', 2), 36) collate "C") where meta is not null;

-- Records of the table log by time: an event is found by its id through the time that is in it. Block ranges cost the
-- writers next to nothing.
create index record_time on millrace.record using brin ("timestamp") with (pages_per_range = 32, autosummarize = on);

-- An attempt whose process died, where nobody knows whether it had been started: it does not count, and is seen.
alter table millrace.job_attempt drop constraint job_attempt_outcome_check;
alter table millrace.job_attempt add constraint job_attempt_outcome_check
  check (outcome in ('failed', 'timed_out', 'crashed', 'interrupted', 'late', 'lost'));
