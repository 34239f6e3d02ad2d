-- The spine: processes, the table log, positions, jobs, dead letters, kept counts.
-- Everything lives in one schema of a fixed name; one installation per database.

-- ---------------------------------------------------------------------------------------------------------------
-- Processes. One row per running instance. A row whose time has passed is dead and stays so: its heartbeat is
-- refused, and the process has to come back under another id. All times are the database's.
create table millrace.process (
  id            uuid        primary key,
  name          text        not null,
  code_version  text,
  applications  text[]      not null default '{}',
  -- What of them it reads, as application/topic: while a deploy adds a topic, only those that know it share it out.
  reads         text[]      not null default '{}',
  started_at    timestamptz not null default clock_timestamp(),
  heartbeat_at  timestamptz not null default clock_timestamp(),
  expires_at    timestamptz not null
);

-- Which process does the upkeep. The term grows with every holder.
create table millrace.lease (
  name       text        primary key,
  holder     uuid,
  term       bigint      not null default 0,
  expires_at timestamptz not null default '-infinity'
);

-- ---------------------------------------------------------------------------------------------------------------
-- Kept counts: every writer appends what it changed, upkeep folds it. Nobody waits for anybody's row, and nothing is
-- ever counted by scanning.
create table millrace.count (
  metric text   not null,
  label  text   not null,
  value  bigint not null,
  primary key (metric, label)
);
create table millrace.count_delta (
  metric text   not null,
  label  text   not null,
  delta  bigint not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- ---------------------------------------------------------------------------------------------------------------
-- The table log.
create table millrace.topic (
  id         uuid        primary key,
  name       text        not null unique check (name ~ '^[a-zA-Z0-9._-]{1,249}$'),
  partitions integer     not null check (partitions between 1 and 1024),
  created_at timestamptz not null default clock_timestamp()
);

-- Cycles: the numbers of deleted topics are used again.
create sequence millrace.log_lock_number as integer minvalue 0 maxvalue 65535 start 0 cycle;

create table millrace.log_partition (
  topic_id    uuid     not null references millrace.topic on delete cascade,
  partition   integer  not null,
  -- First offset that is still there; all below were purged.
  log_start   bigint   not null default 0,
  -- First key of the two-key advisory lock that writers of this partition share: 0x4D520000 + a number of its own.
  lock_class  integer  not null unique,
  -- Draws the offsets. CACHE 1: an offset drawn is the highest drawn so far.
  sequence    regclass not null,
  primary key (topic_id, partition)
);

create table millrace.record (
  topic_id    uuid        not null,
  partition   integer     not null,
  "offset"    bigint      not null,
  "timestamp" timestamptz not null,
  key         bytea,
  value       bytea,
  -- [[name, value], …] in order, duplicates kept. A value is a string, null, or {"base64": …} when it is not UTF-8.
  headers     json,
  primary key (topic_id, partition, "offset"),
  foreign key (topic_id, partition) references millrace.log_partition on delete cascade
);
-- The foreign key would lock a row of log_partition per record written; the functions below check it once per call.
alter table millrace.record drop constraint record_topic_id_partition_fkey;

-- Appends records, in the caller's transaction, and returns their offsets in the order given.
--
-- Before it draws its first offset of a partition, a transaction takes a shared advisory lock whose second key is a
-- lower bound (the low 32 bits of the next offset) of all that it is going to draw. Readers stop below the lowest bound
-- that is held, so a transaction that draws early and commits late is never skipped, and nobody else is waited for.
-- A transaction takes the lock once per partition, however often it appends: which ones it holds is remembered in a
-- transaction-local setting, which a rollback to a savepoint takes back together with the lock.
create function millrace.log_append(
  topic_ids uuid[], partitions integer[], timestamps timestamptz[], keys bytea[], vals bytea[], headers text[]
) returns table (ord bigint, "offset" bigint)
language plpgsql volatile as $$
declare
  held text := coalesce(current_setting('millrace.log_locks', true), '');
  target record;
  written_rows bigint;
begin
  for target in
    select lp.lock_class, lp.sequence, r.topic_id, r.partition
    from (select distinct u.topic_id, u.partition from unnest(topic_ids, partitions) u(topic_id, partition)) r
    left join millrace.log_partition lp on lp.topic_id = r.topic_id and lp.partition = r.partition
    order by r.topic_id, r.partition
  loop
    if target.lock_class is null then
      raise exception 'no partition % of topic %', target.partition, target.topic_id
        using errcode = 'undefined_object', hint = 'The topic was deleted, or has fewer partitions.';
    end if;
    if position(',' || target.lock_class || ',' in held) = 0 then
      perform pg_advisory_xact_lock_shared(
        target.lock_class,
        -- bigint → the signed integer with the same low 32 bits
        (((coalesce(pg_sequence_last_value(target.sequence), -1) + 1) & 4294967295)::bit(32))::integer
      );
      held := coalesce(nullif(held, ''), ',') || target.lock_class || ',';
      perform set_config('millrace.log_locks', held, true);
    end if;
  end loop;

  insert into millrace.count_delta (metric, label, delta)
  select 'events.published', t.name, count(*) from unnest(topic_ids) u(id) join millrace.topic t using (id)
  group by t.name;

  return query
  with drawn as materialized (
    select s.ord, s.topic_id, s.partition, s.ts, s.key, s.value, s.header, nextval(s.sequence) as "offset"
    from (
      select u.ord, u.topic_id, u.partition, u.ts, u.key, u.value, u.header, lp.sequence
      from unnest(topic_ids, partitions, timestamps, keys, vals, headers)
        with ordinality u(topic_id, partition, ts, key, value, header, ord)
      join millrace.log_partition lp on lp.topic_id = u.topic_id and lp.partition = u.partition
      order by u.ord
    ) s
  ), written as (
    insert into millrace.record (topic_id, partition, "offset", "timestamp", key, value, headers)
    select d.topic_id, d.partition, d."offset", coalesce(d.ts, clock_timestamp()), d.key, d.value, d.header::json
    from drawn d
  )
  select d.ord, d."offset" from drawn d order by d.ord;
  get diagnostics written_rows = row_count;
  if written_rows <> cardinality(topic_ids) then
    -- The topic was deleted between the look at its partitions and the drawing.
    raise exception 'a topic was deleted while records were appended to it' using errcode = 'undefined_object';
  end if;
end $$;

-- For each partition asked for: where the log starts, the next offset to be drawn, and the horizon: every record below it
-- is decided (committed and visible to a snapshot taken after this returns, or gone for ever).
--
-- The order of the two readings is the point. An offset below `next_offset` was drawn before the first reading; its writer
-- took its lock before that. If the lock is gone at the second reading, the writer has committed or aborted, and a commit
-- is visible before its locks are released.
--
-- A horizon may be lower than an earlier one: a writer that read its bound, then was slow to take its lock, holds a bound
-- below what was decided meanwhile, though all that it draws lies above. So a reader never goes back to a horizon, and
-- only a position behind `next_offset` is behind the end of the log.
create function millrace.log_horizon(topic_ids uuid[], partitions integer[])
returns table (ord bigint, log_start bigint, horizon bigint, next_offset bigint)
language plpgsql volatile as $$
declare
  ords bigint[];
  starts bigint[];
  classes integer[];
  nexts bigint[];
begin
  -- Neither would fail by itself, and both would skip records: an old snapshot does not see what the horizon promises,
  -- and a standby does not see the locks of the primary.
  if current_setting('transaction_isolation') <> 'read committed' or pg_is_in_recovery() then
    raise exception 'the log can only be read on the primary, in a transaction that is read committed'
      using errcode = 'object_not_in_prerequisite_state';
  end if;

  select array_agg(u.ord order by u.ord), array_agg(lp.log_start order by u.ord),
         array_agg(lp.lock_class order by u.ord),
         array_agg(coalesce(pg_sequence_last_value(lp.sequence), -1) + 1 order by u.ord)
    into ords, starts, classes, nexts
  from unnest(topic_ids, partitions) with ordinality u(topic_id, partition, ord)
  join millrace.log_partition lp on lp.topic_id = u.topic_id and lp.partition = u.partition;

  return query
  select p.ord, p.log_start,
         -- A bound is given by its low 32 bits: the nearest number to `next` that has them.
         least(p.next, min(p.next - ((((p.next - l.objid::bigint) & 4294967295) # 2147483648) - 2147483648))),
         p.next
  from unnest(ords, starts, classes, nexts) p(ord, log_start, lock_class, next)
  left join (
    select k.classid, k.objid from pg_catalog.pg_locks k
    where k.locktype = 'advisory' and k.objsubid = 2 and k.granted and k.mode = 'ShareLock'
      and k.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  ) l on l.classid::bigint = p.lock_class::bigint
  group by p.ord, p.log_start, p.next;
end $$;

-- Reads several partitions from explicit offsets in one call: per partition first a row with its start, horizon and next
-- offset, then its records in order, at most `max_records`, and at most `max_bytes` of keys, values and headers unless the
-- first alone is larger. `more`: there is another record below the horizon that `max_bytes` left out. Nothing is given
-- from an offset below the start.
create function millrace.log_fetch(
  topic_ids uuid[], partitions integer[], offsets bigint[], max_records integer[], max_bytes bigint[]
) returns table (
  ord bigint, log_start bigint, horizon bigint, next_offset bigint,
  "offset" bigint, "timestamp" timestamptz, key bytea, value bytea, headers json, more boolean
)
language plpgsql volatile as $$
declare
  ords bigint[];
  horizons bigint[];
  nexts bigint[];
begin
  select array_agg(h.ord order by h.ord), array_agg(h.horizon order by h.ord), array_agg(h.next_offset order by h.ord)
    into ords, horizons, nexts
  from millrace.log_horizon(topic_ids, partitions) h;

  -- A statement of its own, so that its snapshot is younger than the horizon; and one statement for the records and the
  -- start, because a purge between the two would go unnoticed.
  return query
  with p as materialized (
    select u.o, u.h, u.n, lp.log_start as s
    from unnest(ords, horizons, nexts) u(o, h, n)
    join millrace.log_partition lp on lp.topic_id = topic_ids[u.o] and lp.partition = partitions[u.o]
  )
  select p.o, p.s, p.h, p.n, null::bigint, null::timestamptz, null::bytea, null::bytea, null::json, null::boolean
  from p
  union all
  select p.o, null::bigint, null::bigint, null::bigint, r."offset", r."timestamp", r.key, r.value, r.headers, r.more
  from p
  cross join lateral (
    select w.* from (
      select c.*,
             sum(c.bytes) over (order by c."offset" rows unbounded preceding) as bytes_so_far,
             lead(c."offset") over (order by c."offset") is not null as more
      from (
        select m."offset", m."timestamp", m.key, m.value, m.headers,
               coalesce(octet_length(m.key), 0) + coalesce(octet_length(m.value), 0)
                 + coalesce(pg_column_size(m.headers), 0) as bytes
        from millrace.record m
        where m.topic_id = topic_ids[p.o] and m.partition = partitions[p.o]
          and m."offset" >= offsets[p.o] and offsets[p.o] >= p.s and m."offset" < p.h
        order by m."offset" limit max_records[p.o]
      ) c
    ) w
    where w.bytes_so_far <= max_bytes[p.o] or w.bytes_so_far = w.bytes
  ) r;
end $$;

-- Makes a topic with its partitions, unless there is one of that name; gives the one that is there then.
create function millrace.topic_create(new_id uuid, new_name text, new_partitions integer)
returns table (id uuid, partitions integer)
language plpgsql volatile as $$
declare
  class integer;
  sequence_name text;
begin
  -- One at a time, so that two callers of one name get one topic, and no lock number is given out twice.
  perform pg_advisory_xact_lock(1297219583, 2);
  return query select t.id, t.partitions from millrace.topic t where t.name = new_name;
  if found then
    return;
  end if;
  if (select count(*) from millrace.log_partition) + new_partitions > 65536 then
    raise exception 'the table log has no room for % more partitions', new_partitions
      using errcode = 'program_limit_exceeded', hint = 'Delete topics, or make them with fewer partitions.';
  end if;
  insert into millrace.topic (id, name, partitions) values (new_id, new_name, new_partitions);
  for i in 0..new_partitions - 1 loop
    loop
      class := 1297219584 + nextval('millrace.log_lock_number');
      exit when not exists (select from millrace.log_partition lp where lp.lock_class = class);
    end loop;
    sequence_name := 'log_' || replace(new_id::text, '-', '') || '_' || i;
    execute format('create sequence millrace.%I minvalue 0 start 0', sequence_name);
    insert into millrace.log_partition (topic_id, partition, lock_class, sequence)
    values (new_id, i, class, format('millrace.%I', sequence_name)::regclass);
  end loop;
  return query select new_id, new_partitions;
end $$;

-- Deletes a topic with its records. The sequences go first: that waits for the writers that drew from one, and whoever
-- comes later finds it gone, so no record is written that nobody deletes. It does not wait for long, because all who
-- read or write the topic queue up behind it.
create function millrace.topic_delete(old_id uuid) returns void
language plpgsql volatile set lock_timeout = '2s' as $$
declare
  gone regclass;
begin
  perform pg_advisory_xact_lock(1297219583, 2);
  for gone in
    select lp.sequence from millrace.log_partition lp where lp.topic_id = old_id order by lp.partition
  loop
    execute format('drop sequence %s', gone);
  end loop;
  delete from millrace.record r where r.topic_id = old_id;
  delete from millrace.topic t where t.id = old_id;
end $$;

-- ---------------------------------------------------------------------------------------------------------------
-- Who reads what, and how far.
create table millrace.position (
  application text        not null,
  topic_id    uuid        not null,
  partition   integer     not null,
  topic       text        not null,
  owner       uuid,
  -- Grows with every owner: with `owner` and `next_offset` it is the fence of every batch.
  epoch       bigint      not null default 0,
  next_offset bigint      not null,
  -- Grows when records are read again on purpose, so that their jobs are new on purpose.
  generation  integer     not null default 0,
  -- The record last handled, and the SHA-256 of its value: shows later whether the log is still the same.
  last_offset bigint,
  last_hash   bytea,
  -- Why this partition is stopped, until somebody decides. Null: it is read.
  halted      text,
  -- What its owner waits for just now, in words for people. Null: nothing but new records.
  waiting     text,
  updated_at  timestamptz not null default clock_timestamp(),
  primary key (application, topic_id, partition)
);

-- What became of the records of a batch. One row per batch, never one per record.
create table millrace.batch (
  application   text        not null,
  topic_id      uuid        not null,
  partition     integer     not null,
  generation    integer     not null,
  first_offset  bigint      not null,
  next_offset   bigint      not null,
  epoch         bigint      not null,
  owner         uuid        not null,
  records       integer     not null,
  -- Dispositions, per record and handler; a record without a handler counts once, as filtered.
  done          integer     not null,
  jobs          integer     not null,
  filtered      integer     not null,
  dead_lettered integer     not null,
  -- {"reason": count, …}
  filtered_by   json        not null,
  committed_at  timestamptz not null default clock_timestamp(),
  primary key (application, topic_id, partition, generation, first_offset)
);
create index batch_committed_at on millrace.batch using brin (committed_at);

-- ---------------------------------------------------------------------------------------------------------------
-- Dead letters. Raw bytes are kept as they came; JSON would not be lossless.
create table millrace.dead_letter (
  id               bigint      generated always as identity primary key,
  application      text,
  handler          text        not null,
  stage            text        not null check (stage in ('decode', 'validate', 'prepare', 'apply', 'job')),
  topic            text,
  topic_id         uuid,
  partition        integer,
  "offset"         bigint,
  generation       integer,
  record_timestamp timestamptz,
  key              bytea,
  value            bytea,
  headers          json,
  event_id         text,
  event_type       text,
  event_version    integer,
  -- A discarded job: its id, kind and args. Its record's origin, if it came from one, stands above.
  job_id           uuid,
  kind             text,
  args             json,
  error            json        not null,
  attempts         integer     not null,
  code_version     text,
  -- {"correlationId", "causationId", "traceparent"}
  trace            json,
  state            text        not null default 'open' check (state in ('open', 'replayed', 'discarded')),
  created_at       timestamptz not null default clock_timestamp()
);
create unique index dead_letter_record on millrace.dead_letter
  (application, handler, topic_id, partition, "offset", generation) where job_id is null;
create unique index dead_letter_job on millrace.dead_letter (job_id) where job_id is not null;

-- ---------------------------------------------------------------------------------------------------------------
-- Jobs. The hot table holds what is not finished, and nothing else.
create sequence millrace.job_place;

create table millrace.job (
  id           uuid        not null,
  kind         text        not null,
  queue        text        not null,
  priority     smallint    not null check (priority between 0 and 9),
  -- Place in line, drawn anew whenever the job comes back, so that the claim's scan may start at a frontier.
  place        bigint      not null default nextval('millrace.job_place'),
  state        text        not null
               check (state in ('available', 'scheduled', 'executing', 'retryable', 'suspended')),
  attempt      smallint    not null default 0,
  max_attempts smallint    not null check (max_attempts between 1 and 32767),
  -- How often a process ended while this very job was running, and how often that may happen.
  crashes      smallint    not null default 0,
  max_crashes  smallint    not null default 3 check (max_crashes between 1 and 32767),
  -- Was claimed by a process that died: run alone, with a written start mark, to find the one that kills.
  suspect      boolean     not null default false,
  cancel_asked boolean     not null default false,
  -- The application whose bridge made it.
  application  text,
  scheduled_at timestamptz not null default clock_timestamp(),
  created_at   timestamptz not null default clock_timestamp(),
  attempted_at timestamptz,
  -- Start mark of a suspect.
  started_at   timestamptz,
  process_id   uuid,
  -- Names the attempt: made by the claimer, and demanded of whoever writes to the row.
  token        uuid,
  args         json        not null,
  -- {"origin": {…}, "correlationId", "causationId", "traceparent"}
  meta         json,
  last_error   json,
  primary key (id),
  constraint job_executing check ((state = 'executing') = (token is not null and process_id is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
        autovacuum_vacuum_cost_delay = 0);
create index job_claim on millrace.job (queue, priority, place) where state = 'available' and not suspect;
create index job_suspect on millrace.job (queue, priority, place) where state = 'available' and suspect;
create index job_due on millrace.job (scheduled_at) where state in ('scheduled', 'retryable');
create index job_executing on millrace.job (process_id) where state = 'executing';

-- Finished jobs, a partition per day (UTC), dropped by day.
create table millrace.job_history (
  id           uuid        not null,
  kind         text        not null,
  queue        text        not null,
  priority     smallint    not null,
  state        text        not null check (state in ('completed', 'cancelled', 'discarded')),
  attempt      smallint    not null,
  max_attempts smallint    not null,
  crashes      smallint    not null,
  max_crashes  smallint    not null,
  application  text,
  scheduled_at timestamptz not null,
  created_at   timestamptz not null,
  attempted_at timestamptz,
  finished_at  timestamptz not null,
  process_id   uuid,
  token        uuid,
  args         json        not null,
  meta         json,
  last_error   json,
  -- What a handler said when it cancelled or discarded.
  reason       text
) partition by range (finished_at);
create index job_history_id on millrace.job_history (id);

-- Attempts that did not complete: failed, or written too late. A partition per day, as above.
create table millrace.job_attempt (
  job_id      uuid        not null,
  attempt     smallint    not null,
  token       uuid        not null,
  process_id  uuid,
  -- failed: the handler threw; timed_out; crashed: its process died; interrupted: a stop took it back, uncharged;
  -- late: its result came after the job had been taken back, and changed nothing.
  outcome     text        not null check (outcome in ('failed', 'timed_out', 'crashed', 'interrupted', 'late')),
  error       json,
  attempted_at timestamptz,
  finished_at timestamptz not null default clock_timestamp()
) partition by range (finished_at);
create index job_attempt_job on millrace.job_attempt (job_id);

-- Makes the partitions of `parent` for the days from today to `ahead` days later (UTC); those that exist are left alone.
-- Two processes that do this at once wait for each other.
create function millrace.ensure_days(parent text, ahead integer) returns void
language plpgsql volatile as $$
declare
  day date;
  name text;
begin
  for i in 0..ahead loop
    day := (clock_timestamp() at time zone 'UTC')::date + i;
    name := parent || '_' || to_char(day, 'YYYYMMDD');
    if to_regclass('millrace.' || name) is null then
      perform pg_advisory_xact_lock(1297219583, 1);
      execute format('create table if not exists millrace.%I partition of millrace.%I for values from (%L) to (%L)',
        name, parent, day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
    end if;
  end loop;
end $$;

select millrace.ensure_days('job_history', 3);
select millrace.ensure_days('job_attempt', 3);
