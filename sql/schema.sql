-- Made from a fresh migration by the tests; MILLRACE_UPDATE=1 npm test -- schema renews it.

table millrace.accepted_failure
  application text not null
  fingerprint text not null
  accepted_by text not null
  reason text not null
  accepted_at timestamp with time zone not null default clock_timestamp()
  expires_at timestamp with time zone not null
  constraint accepted_failure_pkey PRIMARY KEY (application, fingerprint)
  CREATE UNIQUE INDEX accepted_failure_pkey ON millrace.accepted_failure USING btree (application, fingerprint)

table millrace.alert_delivery
  one boolean not null default true
  since timestamp with time zone not null default (clock_timestamp() - '01:00:00'::interval)
  attempts integer not null default 0
  next_at timestamp with time zone not null default '-infinity'::timestamp with time zone
  trouble text
  last_told_at timestamp with time zone
  constraint alert_delivery_one_check CHECK (one)
  constraint alert_delivery_pkey PRIMARY KEY (one)
  CREATE UNIQUE INDEX alert_delivery_pkey ON millrace.alert_delivery USING btree (one)

table millrace.batch
  application text not null
  topic_id uuid not null
  partition integer not null
  generation integer not null
  first_offset bigint not null
  next_offset bigint not null
  epoch bigint not null
  owner uuid not null
  records integer not null
  done integer not null
  jobs integer not null
  filtered integer not null
  dead_lettered integer not null
  filtered_by json not null
  committed_at timestamp with time zone not null default clock_timestamp()
  last_offset bigint
  last_hash bytea
  constraint batch_pkey PRIMARY KEY (application, topic_id, partition, generation, first_offset)
  CREATE INDEX batch_committed_at ON millrace.batch USING brin (committed_at)
  CREATE UNIQUE INDEX batch_pkey ON millrace.batch USING btree (application, topic_id, partition, generation, first_offset)

table millrace.count
  metric text not null
  label text not null
  value bigint not null
  constraint count_pkey PRIMARY KEY (metric, label)
  CREATE UNIQUE INDEX count_pkey ON millrace.count USING btree (metric, label)

table millrace.count_delta with (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000)
  metric text not null
  label text not null
  delta bigint not null

table millrace.dead_letter
  id bigint not null generated always as identity
  application text
  handler text not null
  stage text not null
  topic text
  topic_id uuid
  partition integer
  offset bigint
  generation integer
  record_timestamp timestamp with time zone
  key bytea
  value bytea
  headers json
  event_id text
  event_type text
  event_version integer
  job_id uuid
  kind text
  args json
  error json not null
  attempts integer not null
  code_version text
  trace json
  state text not null default 'open'::text
  created_at timestamp with time zone not null default clock_timestamp()
  fingerprint text not null default ''::text
  fingerprint_version smallint
  cluster text
  producer text
  replays integer not null default 0
  revision integer not null default 0
  closed_at timestamp with time zone
  exported text
  failed_at timestamp with time zone
  max_replays integer
  constraint dead_letter_exported_check CHECK ((exported = ANY (ARRAY['due'::text, 'done'::text, 'failed'::text])))
  constraint dead_letter_pkey PRIMARY KEY (id)
  constraint dead_letter_stage_check CHECK ((stage = ANY (ARRAY['decode'::text, 'validate'::text, 'prepare'::text, 'apply'::text, 'job'::text])))
  constraint dead_letter_state_check CHECK ((state = ANY (ARRAY['open'::text, 'replayed'::text, 'discarded'::text, 'parked'::text])))
  CREATE INDEX dead_letter_due ON millrace.dead_letter USING btree (application, id) WHERE (exported = 'due'::text)
  CREATE INDEX dead_letter_group ON millrace.dead_letter USING btree (state, fingerprint, id)
  CREATE INDEX dead_letter_open ON millrace.dead_letter USING btree (COALESCE(application, ''::text), created_at) WHERE (state = 'open'::text)
  CREATE INDEX dead_letter_open_group ON millrace.dead_letter USING btree (COALESCE(application, ''::text), fingerprint, created_at) WHERE (state = 'open'::text)
  CREATE INDEX dead_letter_place ON millrace.dead_letter USING btree (topic_id, partition, "offset") WHERE (job_id IS NULL)
  CREATE INDEX dead_letter_replayable ON millrace.dead_letter USING btree (application, id) WHERE (state = 'open'::text)
  CREATE INDEX dead_letter_taken_from ON millrace.dead_letter USING btree ((((trace -> 'takenFrom'::text) ->> 'topicId'::text)), (((trace -> 'takenFrom'::text) ->> 'partition'::text)), (((trace -> 'takenFrom'::text) ->> 'offset'::text))) WHERE ((job_id IS NULL) AND (topic_id IS NULL))
  CREATE UNIQUE INDEX dead_letter_job ON millrace.dead_letter USING btree (job_id) WHERE (job_id IS NOT NULL)
  CREATE UNIQUE INDEX dead_letter_pkey ON millrace.dead_letter USING btree (id)
  CREATE UNIQUE INDEX dead_letter_record ON millrace.dead_letter USING btree (application, handler, topic_id, partition, "offset", generation) WHERE (job_id IS NULL)

table millrace.dead_letter_edit
  dead_letter_id bigint not null
  revision integer not null
  value bytea
  edited_by text not null
  reason text
  edited_at timestamp with time zone not null default clock_timestamp()
  constraint dead_letter_edit_dead_letter_id_fkey FOREIGN KEY (dead_letter_id) REFERENCES millrace.dead_letter(id) ON DELETE CASCADE
  constraint dead_letter_edit_pkey PRIMARY KEY (dead_letter_id, revision)
  CREATE UNIQUE INDEX dead_letter_edit_pkey ON millrace.dead_letter_edit USING btree (dead_letter_id, revision)

table millrace.dead_letter_export
  application text not null
  since timestamp with time zone not null default clock_timestamp()
  constraint dead_letter_export_pkey PRIMARY KEY (application)
  CREATE UNIQUE INDEX dead_letter_export_pkey ON millrace.dead_letter_export USING btree (application)

table millrace.effect partition by RANGE (written_at)
  job_id uuid
  attempt smallint
  event_id text
  application text
  handler text not null
  name text not null
  details json
  at timestamp with time zone not null
  written_at timestamp with time zone not null default clock_timestamp()
  constraint effect_check CHECK (((job_id IS NULL) <> (event_id IS NULL)))
  CREATE INDEX effect_event ON ONLY millrace.effect USING btree ("left"(event_id, 64)) WHERE (event_id IS NOT NULL)
  CREATE INDEX effect_job ON ONLY millrace.effect USING btree (job_id) WHERE (job_id IS NOT NULL)

table millrace.fingerprint
  application text not null
  fingerprint text not null
  open bigint not null
  dead_lettered bigint not null
  first_seen_at timestamp with time zone not null
  last_seen_at timestamp with time zone not null
  example bigint not null
  alert_id uuid not null default gen_random_uuid()
  told_at timestamp with time zone
  parked bigint not null default 0
  constraint fingerprint_pkey PRIMARY KEY (application, fingerprint)
  CREATE INDEX fingerprint_open ON millrace.fingerprint USING btree (open) WHERE (open <> 0)
  CREATE INDEX fingerprint_untold ON millrace.fingerprint USING btree (first_seen_at) WHERE (told_at IS NULL)
  CREATE UNIQUE INDEX fingerprint_pkey ON millrace.fingerprint USING btree (application, fingerprint)

table millrace.fingerprint_delta with (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000)
  application text not null
  fingerprint text not null
  open bigint not null
  dead_lettered bigint not null
  example bigint not null
  at timestamp with time zone not null default clock_timestamp()
  parked bigint not null default 0

table millrace.fingerprint_minute
  minute timestamp with time zone not null
  application text not null
  fingerprint text not null
  dead_lettered bigint not null
  constraint fingerprint_minute_pkey PRIMARY KEY (minute, application, fingerprint)
  CREATE UNIQUE INDEX fingerprint_minute_pkey ON millrace.fingerprint_minute USING btree (minute, application, fingerprint)

table millrace.gap
  id bigint not null generated always as identity
  application text not null
  topic text not null
  topic_id uuid not null
  partition integer not null
  generation integer not null
  code text not null
  found text not null
  from_offset bigint
  to_offset bigint
  evidence json not null
  found_at timestamp with time zone not null default clock_timestamp()
  decision text
  decided_by text
  decided_at timestamp with time zone
  reason text
  outcome json
  constraint gap_code_check CHECK ((code = ANY (ARRAY['topic-recreated'::text, 'topic-deleted'::text, 'before-start'::text, 'behind-end'::text, 'diverged'::text, 'corrupt'::text, 'flood'::text])))
  constraint gap_decided CHECK ((((decision IS NULL) = (decided_at IS NULL)) AND ((decision IS NULL) = (decided_by IS NULL))))
  constraint gap_decision_check CHECK ((decision = ANY (ARRAY['rewind'::text, 'accept'::text, 'adopt'::text, 'try-again'::text, 'accept-failures'::text])))
  constraint gap_pkey PRIMARY KEY (id)
  CREATE INDEX gap_flood ON millrace.gap USING btree (application, topic_id, partition, id) WHERE (code = 'flood'::text)
  CREATE UNIQUE INDEX gap_open ON millrace.gap USING btree (application, topic_id, partition) WHERE (decision IS NULL)
  CREATE UNIQUE INDEX gap_pkey ON millrace.gap USING btree (id)

table millrace.job with (fillfactor=70, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=5000, autovacuum_vacuum_insert_scale_factor=0, autovacuum_vacuum_insert_threshold=50000, autovacuum_vacuum_cost_delay=0)
  id uuid not null
  kind text not null
  queue text not null
  priority smallint not null
  place bigint not null default nextval('millrace.job_place'::regclass)
  state text not null
  attempt smallint not null default 0
  max_attempts smallint not null
  crashes smallint not null default 0
  max_crashes smallint not null default 3
  suspect boolean not null default false
  cancel_asked boolean not null default false
  application text
  scheduled_at timestamp with time zone not null default clock_timestamp()
  created_at timestamp with time zone not null default clock_timestamp()
  attempted_at timestamp with time zone
  started_at timestamp with time zone
  process_id uuid
  token uuid
  args json not null
  meta text
  last_error json
  constraint job_executing CHECK (((state = 'executing'::text) = ((token IS NOT NULL) AND (process_id IS NOT NULL))))
  constraint job_max_attempts_check CHECK (((max_attempts >= 1) AND (max_attempts <= 32767)))
  constraint job_max_crashes_check CHECK (((max_crashes >= 1) AND (max_crashes <= 32767)))
  constraint job_pkey PRIMARY KEY (id)
  constraint job_priority_check CHECK (((priority >= 0) AND (priority <= 9)))
  constraint job_state_check CHECK ((state = ANY (ARRAY['available'::text, 'scheduled'::text, 'executing'::text, 'retryable'::text, 'suspended'::text])))
  CREATE INDEX job_claim ON millrace.job USING btree (hashtextextended(queue, (priority)::bigint), place) WHERE ((state = 'available'::text) AND (NOT suspect))
  CREATE INDEX job_due ON millrace.job USING btree (scheduled_at) WHERE (state = ANY (ARRAY['scheduled'::text, 'retryable'::text]))
  CREATE INDEX job_executing ON millrace.job USING btree (process_id) WHERE (state = 'executing'::text)
  CREATE INDEX job_suspect ON millrace.job USING btree (queue, priority, place) WHERE ((state = 'available'::text) AND suspect)
  CREATE UNIQUE INDEX job_pkey ON millrace.job USING btree (id)

table millrace.job_attempt partition by RANGE (finished_at)
  job_id uuid not null
  attempt smallint not null
  token uuid not null
  process_id uuid
  outcome text not null
  error json
  attempted_at timestamp with time zone
  finished_at timestamp with time zone not null default clock_timestamp()
  constraint job_attempt_outcome_check CHECK ((outcome = ANY (ARRAY['failed'::text, 'timed_out'::text, 'crashed'::text, 'interrupted'::text, 'late'::text, 'lost'::text])))
  CREATE INDEX job_attempt_job ON ONLY millrace.job_attempt USING btree (job_id)

table millrace.job_history partition by RANGE (finished_at)
  id uuid not null
  kind text not null
  queue text not null
  priority smallint not null
  state text not null
  attempt smallint not null
  max_attempts smallint not null
  crashes smallint not null
  max_crashes smallint not null
  application text
  scheduled_at timestamp with time zone not null
  created_at timestamp with time zone not null
  attempted_at timestamp with time zone
  finished_at timestamp with time zone not null
  process_id uuid
  token uuid
  args json not null
  meta text
  last_error json
  reason text
  constraint job_history_state_check CHECK ((state = ANY (ARRAY['completed'::text, 'cancelled'::text, 'discarded'::text])))
  CREATE INDEX job_history_correlation ON ONLY millrace.job_history USING btree ("left"(split_part(meta, '"correlationId":"'::text, 2), 36) COLLATE "C") WHERE (meta IS NOT NULL)
  CREATE INDEX job_history_id ON ONLY millrace.job_history USING btree (id)

table millrace.lease
  name text not null
  holder uuid
  term bigint not null default 0
  expires_at timestamp with time zone not null default '-infinity'::timestamp with time zone
  constraint lease_pkey PRIMARY KEY (name)
  CREATE UNIQUE INDEX lease_pkey ON millrace.lease USING btree (name)

table millrace.log_partition
  topic_id uuid not null
  partition integer not null
  log_start bigint not null default 0
  lock_class integer not null
  sequence regclass not null
  constraint log_partition_lock_class_key UNIQUE (lock_class)
  constraint log_partition_pkey PRIMARY KEY (topic_id, partition)
  constraint log_partition_topic_id_fkey FOREIGN KEY (topic_id) REFERENCES millrace.topic(id) ON DELETE CASCADE
  CREATE UNIQUE INDEX log_partition_lock_class_key ON millrace.log_partition USING btree (lock_class)
  CREATE UNIQUE INDEX log_partition_pkey ON millrace.log_partition USING btree (topic_id, partition)

table millrace.migration
  version integer not null
  name text not null
  checksum text not null
  applied_at timestamp with time zone not null default clock_timestamp()
  constraint migration_pkey PRIMARY KEY (version)
  CREATE UNIQUE INDEX migration_pkey ON millrace.migration USING btree (version)

table millrace.operator_action
  id bigint not null generated always as identity
  at timestamp with time zone not null default clock_timestamp()
  operator text not null
  action text not null
  filter json not null
  count bigint not null
  reason text
  detail json
  constraint operator_action_pkey PRIMARY KEY (id)
  CREATE UNIQUE INDEX operator_action_pkey ON millrace.operator_action USING btree (id)

table millrace.outbox_identity
  one boolean not null default true
  id uuid not null
  constraint outbox_identity_one_check CHECK (one)
  constraint outbox_identity_pkey PRIMARY KEY (one)
  CREATE UNIQUE INDEX outbox_identity_pkey ON millrace.outbox_identity USING btree (one)

table millrace.outbox_record partition by LIST (segment)
  shard smallint not null
  offset bigint not null
  segment smallint not null
  partition integer
  timestamp timestamp with time zone not null
  appended_at timestamp with time zone not null default clock_timestamp()
  topic text not null
  key bytea
  value bytea
  headers json
  constraint outbox_record_pkey PRIMARY KEY (shard, "offset", segment)
  CREATE UNIQUE INDEX outbox_record_pkey ON ONLY millrace.outbox_record USING btree (shard, "offset", segment)

table millrace.outbox_shard
  shard smallint not null
  owner uuid
  epoch bigint not null default 0
  expires_at timestamp with time zone not null default '-infinity'::timestamp with time zone
  relayed bigint
  relayed_hash bytea
  waiting text
  halted text
  cursor text
  accepted text
  accepted_behind bigint
  retired boolean not null default false
  layout smallint
  refused bigint
  constraint outbox_shard_pkey PRIMARY KEY (shard)
  CREATE UNIQUE INDEX outbox_shard_pkey ON millrace.outbox_shard USING btree (shard)

table millrace.pause
  application text not null
  topic text
  partition integer
  paused_by text not null
  reason text not null
  paused_at timestamp with time zone not null default clock_timestamp()
  expires_at timestamp with time zone
  constraint pause_application_topic_partition_key UNIQUE NULLS NOT DISTINCT (application, topic, partition)
  constraint pause_check CHECK (((partition IS NULL) OR (topic IS NOT NULL)))
  CREATE UNIQUE INDEX pause_application_topic_partition_key ON millrace.pause USING btree (application, topic, partition) NULLS NOT DISTINCT

table millrace.position
  application text not null
  topic_id uuid not null
  partition integer not null
  topic text not null
  owner uuid
  epoch bigint not null default 0
  next_offset bigint not null
  generation integer not null default 0
  last_offset bigint
  last_hash bytea
  halted text
  waiting text
  updated_at timestamp with time zone not null default clock_timestamp()
  constraint position_pkey PRIMARY KEY (application, topic_id, partition)
  CREATE UNIQUE INDEX position_pkey ON millrace."position" USING btree (application, topic_id, partition)

table millrace.process
  id uuid not null
  name text not null
  code_version text
  applications text[] not null default '{}'::text[]
  reads text[] not null default '{}'::text[]
  started_at timestamp with time zone not null default clock_timestamp()
  heartbeat_at timestamp with time zone not null default clock_timestamp()
  expires_at timestamp with time zone not null
  relays boolean not null default false
  constraint process_pkey PRIMARY KEY (id)
  CREATE UNIQUE INDEX process_pkey ON millrace.process USING btree (id)

table millrace.record
  topic_id uuid not null
  partition integer not null
  offset bigint not null
  timestamp timestamp with time zone not null
  key bytea
  value bytea
  headers json
  constraint record_pkey PRIMARY KEY (topic_id, partition, "offset")
  CREATE INDEX record_time ON millrace.record USING brin ("timestamp") WITH (pages_per_range='32', autosummarize='on')
  CREATE UNIQUE INDEX record_pkey ON millrace.record USING btree (topic_id, partition, "offset")

table millrace.replay
  id bigint not null generated always as identity
  application text
  selection json not null
  handler text
  topic text
  topic_id uuid
  next_id bigint not null
  end_id bigint not null
  dry_run boolean not null
  rate double precision
  canary integer
  stop_after integer
  stop_every integer
  stop_share double precision
  max_replays integer not null
  state text not null default 'running'::text
  note text
  total bigint not null
  passed bigint not null default 0
  failed bigint not null default 0
  skipped bigint not null default 0
  parked bigint not null default 0
  owner uuid
  epoch bigint not null default 0
  ordered_by text not null
  reason text
  created_at timestamp with time zone not null default clock_timestamp()
  started_at timestamp with time zone
  finished_at timestamp with time zone
  updated_at timestamp with time zone not null default clock_timestamp()
  constraint replay_canary_check CHECK ((canary > 0))
  constraint replay_pkey PRIMARY KEY (id)
  constraint replay_rate_check CHECK ((rate > (0)::double precision))
  constraint replay_state_check CHECK ((state = ANY (ARRAY['running'::text, 'paused'::text, 'finished'::text, 'stopped'::text, 'aborted'::text])))
  constraint replay_stop_after_check CHECK ((stop_after > 0))
  constraint replay_stop_share_check CHECK (((stop_share > (0)::double precision) AND (stop_share <= (1)::double precision)))
  CREATE INDEX replay_running ON millrace.replay USING btree (id) WHERE (state = 'running'::text)
  CREATE UNIQUE INDEX replay_pkey ON millrace.replay USING btree (id)

table millrace.replay_failure
  replay_id bigint not null
  fingerprint text not null
  count bigint not null
  error json not null
  partition integer not null
  offset bigint not null
  constraint replay_failure_pkey PRIMARY KEY (replay_id, fingerprint)
  constraint replay_failure_replay_id_fkey FOREIGN KEY (replay_id) REFERENCES millrace.replay(id) ON DELETE CASCADE
  CREATE UNIQUE INDEX replay_failure_pkey ON millrace.replay_failure USING btree (replay_id, fingerprint)

table millrace.replay_outcome
  replay_id bigint not null
  dead_letter_id bigint not null
  outcome text not null
  error json
  fingerprint text
  at timestamp with time zone not null default clock_timestamp()
  constraint replay_outcome_outcome_check CHECK ((outcome = ANY (ARRAY['passed'::text, 'failed'::text, 'skipped'::text, 'not-run'::text])))
  constraint replay_outcome_pkey PRIMARY KEY (dead_letter_id, replay_id)
  constraint replay_outcome_replay_id_fkey FOREIGN KEY (replay_id) REFERENCES millrace.replay(id) ON DELETE CASCADE
  CREATE INDEX replay_outcome_why ON millrace.replay_outcome USING btree (replay_id, fingerprint) WHERE (outcome = ANY (ARRAY['failed'::text, 'not-run'::text]))
  CREATE UNIQUE INDEX replay_outcome_pkey ON millrace.replay_outcome USING btree (dead_letter_id, replay_id)

table millrace.replay_range
  replay_id bigint not null
  partition integer not null
  next_offset bigint not null
  end_offset bigint not null
  constraint replay_range_pkey PRIMARY KEY (replay_id, partition)
  constraint replay_range_replay_id_fkey FOREIGN KEY (replay_id) REFERENCES millrace.replay(id) ON DELETE CASCADE
  CREATE UNIQUE INDEX replay_range_pkey ON millrace.replay_range USING btree (replay_id, partition)

table millrace.seen_event
  key uuid not null
  topic_id uuid not null
  offset bigint not null
  expires_at timestamp with time zone not null
  partition integer not null
  constraint seen_event_pkey PRIMARY KEY (key)
  CREATE INDEX seen_event_expiry ON millrace.seen_event USING btree (expires_at)
  CREATE UNIQUE INDEX seen_event_pkey ON millrace.seen_event USING btree (key)

table millrace.topic
  id uuid not null
  name text not null
  partitions integer not null
  created_at timestamp with time zone not null default clock_timestamp()
  constraint topic_name_check CHECK ((name ~ '^[a-zA-Z0-9._-]{1,249}$'::text))
  constraint topic_name_key UNIQUE (name)
  constraint topic_partitions_check CHECK (((partitions >= 1) AND (partitions <= 1024)))
  constraint topic_pkey PRIMARY KEY (id)
  CREATE UNIQUE INDEX topic_name_key ON millrace.topic USING btree (name)
  CREATE UNIQUE INDEX topic_pkey ON millrace.topic USING btree (id)

sequence millrace.dead_letter_id_seq as bigint start 1 increment 1 cache 1
sequence millrace.gap_id_seq as bigint start 1 increment 1 cache 1
sequence millrace.job_place as bigint start 1 increment 1024 cache 1
sequence millrace.log_lock_number as integer start 0 increment 1 cache 1
sequence millrace.operator_action_id_seq as bigint start 1 increment 1 cache 1
sequence millrace.outbox_layout as bigint start 0 increment 1 cache 1
sequence millrace.outbox_offset as bigint start 1 increment 1 cache 1
sequence millrace.outbox_segment as bigint start 0 increment 1 cache 1
sequence millrace.replay_id_seq as bigint start 1 increment 1 cache 1

CREATE OR REPLACE FUNCTION millrace.dead_letter_written()
 RETURNS trigger
 LANGUAGE plpgsql
 SET enable_nestloop TO 'off'
AS $function$
begin
  if TG_OP = 'INSERT' then
    insert into millrace.fingerprint_delta (application, fingerprint, open, parked, dead_lettered, example)
    select coalesce(w.application, ''), w.fingerprint, count(*) filter (where w.state = 'open'),
      count(*) filter (where w.state = 'parked'), count(*) filter (where w.state = 'open'), min(w.id)
    from written w where w.state in ('open', 'parked') group by 1, 2;
  elsif TG_OP = 'DELETE' then
    insert into millrace.fingerprint_delta (application, fingerprint, open, parked, dead_lettered, example)
    select coalesce(u.application, ''), u.fingerprint, -count(*) filter (where u.state = 'open'),
      -count(*) filter (where u.state = 'parked'), 0, min(u.id)
    from unwritten u where u.state in ('open', 'parked') group by 1, 2;
  else
    insert into millrace.fingerprint_delta (application, fingerprint, open, parked, dead_lettered, example)
    select c.application, c.fingerprint, sum(c.open), sum(c.parked), count(*) filter (where c.open > 0), min(c.id)
    from (
      select coalesce(w.application, '') as application, w.fingerprint, w.id, (w.state = 'open')::int as open,
        (w.state = 'parked')::int as parked
      from written w join unwritten u on u.id = w.id
      where w.state in ('open', 'parked')
        and (u.state, u.application, u.fingerprint) is distinct from (w.state, w.application, w.fingerprint)
      union all
      select coalesce(u.application, ''), u.fingerprint, u.id, -(u.state = 'open')::int, -(u.state = 'parked')::int
      from unwritten u join written w on u.id = w.id
      where u.state in ('open', 'parked')
        and (u.state, u.application, u.fingerprint) is distinct from (w.state, w.application, w.fingerprint)
    ) c
    group by 1, 2;
  end if;
  return null;
end $function$;

CREATE OR REPLACE FUNCTION millrace.effect_append(job_ids uuid[], attempts smallint[], event_ids text[], applications text[], handlers text[], names text[], all_details text[], ats timestamp with time zone[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
begin
  perform millrace.ensure_days('effect', 0);
  insert into millrace.effect (job_id, attempt, event_id, application, handler, name, details, at)
  select u.job_id, u.attempt, u.event_id, u.application, u.handler, u.name, u.details::json, u.at
  from unnest(job_ids, attempts, event_ids, applications, handlers, names, all_details, ats)
    u(job_id, attempt, event_id, application, handler, name, details, at);
end $function$;

CREATE OR REPLACE FUNCTION millrace.ensure_days(parent text, ahead integer)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION millrace.log_append(topic_ids uuid[], partitions integer[], timestamps timestamp with time zone[], keys bytea[], vals bytea[], headers text[])
 RETURNS TABLE(ord bigint, "offset" bigint)
 LANGUAGE plpgsql
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION millrace.log_fetch(topic_ids uuid[], partitions integer[], offsets bigint[], max_records integer[], max_bytes bigint[])
 RETURNS TABLE(ord bigint, log_start bigint, horizon bigint, next_offset bigint, "offset" bigint, "timestamp" timestamp with time zone, key bytea, value bytea, headers json, more boolean)
 LANGUAGE plpgsql
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION millrace.log_horizon(topic_ids uuid[], partitions integer[])
 RETURNS TABLE(ord bigint, log_start bigint, horizon bigint, next_offset bigint)
 LANGUAGE plpgsql
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION millrace.outbox_append(hashes integer[], topics text[], partitions integer[], timestamps timestamp with time zone[], keys bytea[], vals bytea[], headers text[])
 RETURNS smallint[]
 LANGUAGE plpgsql
AS $function$
declare
  held text := coalesce(current_setting('millrace.outbox_locks', true), '');
  layout bigint := pg_sequence_last_value('millrace.outbox_layout');
  current_segment smallint := pg_sequence_last_value('millrace.outbox_segment') % 3;
  first_shard integer;
  shard_count integer;
  shards smallint[];
  target smallint;
begin
  loop
    first_shard := layout / 64;
    shard_count := layout % 64;
    shards := array(select distinct first_shard + h % shard_count from unnest(hashes) h order by 1);
    foreach target in array shards loop
      if position(',' || target || ',' in held) = 0 then
        perform pg_advisory_xact_lock_shared(
          1297285120 + target,
          (((coalesce(pg_sequence_last_value('millrace.outbox_offset'), 0) + 1) & 4294967295)::bit(32))::integer
        );
        held := coalesce(nullif(held, ''), ',') || target || ',';
        perform set_config('millrace.outbox_locks', held, true);
      end if;
    end loop;
    exit when layout = pg_sequence_last_value('millrace.outbox_layout');
    layout := pg_sequence_last_value('millrace.outbox_layout');
  end loop;

  insert into millrace.outbox_record (shard, "offset", segment, topic, partition, "timestamp", key, value, headers)
  select first_shard + u.hash % shard_count, nextval('millrace.outbox_offset'), current_segment, u.topic, u.partition,
         coalesce(u.ts, clock_timestamp()), u.key, u.value, u.header::json
  from (
    select * from unnest(hashes, topics, partitions, timestamps, keys, vals, headers)
      with ordinality r(hash, topic, partition, ts, key, value, header, ord)
    order by r.ord
  ) u;

  insert into millrace.count_delta (metric, label, delta)
  select 'events.published', t.topic, count(*) from unnest(topics) t(topic) group by t.topic
  union all
  select 'outbox.waiting', '', cardinality(topics);
  return shards;
end $function$;

CREATE OR REPLACE FUNCTION millrace.outbox_fetch(which smallint, behind bigint, max_records integer, max_bytes bigint)
 RETURNS TABLE(horizon bigint, next_offset bigint, "offset" bigint, topic text, partition integer, "timestamp" timestamp with time zone, appended_at timestamp with time zone, key bytea, value bytea, headers json)
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
declare
  reach bigint;
  next bigint;
begin
  select h.horizon, h.next_offset into reach, next from millrace.outbox_horizon(array[which]) h;
  return query select reach, next, null::bigint, null::text, null::integer, null::timestamptz, null::timestamptz,
    null::bytea, null::bytea, null::json;
  -- A statement of its own, so that its snapshot is younger than the horizon.
  return query
  select null::bigint, null::bigint, w."offset", w.topic, w.partition, w."timestamp", w.appended_at, w.key, w.value, w.headers
  from (
    select c.*, sum(c.bytes) over (order by c."offset" rows unbounded preceding) as bytes_so_far
    from (
      select r."offset", r.topic, r.partition, r."timestamp", r.appended_at, r.key, r.value, r.headers,
             coalesce(octet_length(r.key), 0) + coalesce(octet_length(r.value), 0)
               + coalesce(octet_length(r.headers::text), 0) as bytes
      from millrace.outbox_record r
      where r.shard = which and r."offset" > behind and r."offset" < reach
      order by r."offset" limit max_records
    ) c
  ) w
  where w.bytes_so_far <= max_bytes or w.bytes_so_far = w.bytes
  order by w."offset";
end $function$;

CREATE OR REPLACE FUNCTION millrace.outbox_horizon(shards smallint[])
 RETURNS TABLE(shard smallint, horizon bigint, next_offset bigint)
 LANGUAGE plpgsql
AS $function$
declare
  next bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' or pg_is_in_recovery() then
    raise exception 'the outbox can only be read on the primary, in a transaction that is read committed'
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  next := coalesce(pg_sequence_last_value('millrace.outbox_offset'), 0) + 1;
  return query
  select s.shard, least(next, min(next - ((((next - l.objid::bigint) & 4294967295) # 2147483648) - 2147483648))), next
  from unnest(shards) s(shard)
  left join (
    select k.classid, k.objid from pg_catalog.pg_locks k
    where k.locktype = 'advisory' and k.objsubid = 2 and k.granted and k.mode = 'ShareLock'
      and k.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  ) l on l.classid::bigint = 1297285120 + s.shard
  group by s.shard;
end $function$;

CREATE OR REPLACE FUNCTION millrace.outbox_make_shards(seen bigint, count integer)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  first_shard bigint := seen / 64 + seen % 64;
begin
  perform pg_advisory_xact_lock(1297219583, 3);
  if pg_sequence_last_value('millrace.outbox_layout') = seen then
    insert into millrace.outbox_shard (shard, layout)
    select i, first_shard from generate_series(first_shard, first_shard + count - 1) i
    on conflict (shard) do update set layout = excluded.layout;
  end if;
end $function$;

CREATE OR REPLACE FUNCTION millrace.outbox_set_layout(seen bigint, wanted bigint)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
begin
  perform pg_advisory_xact_lock(1297219583, 3);
  if pg_sequence_last_value('millrace.outbox_layout') = seen then
    perform setval('millrace.outbox_layout', wanted);
  end if;
end $function$;

CREATE OR REPLACE FUNCTION millrace.topic_create(new_id uuid, new_name text, new_partitions integer)
 RETURNS TABLE(id uuid, partitions integer)
 LANGUAGE plpgsql
AS $function$
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
end $function$;

CREATE OR REPLACE FUNCTION millrace.topic_delete(old_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET lock_timeout TO '2s'
AS $function$
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
end $function$;
