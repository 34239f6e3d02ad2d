-- The outbox: records written in the caller's transaction for a log that cannot take part in it, until a relay has moved
-- them there. How far the relay is, is kept in that log, in the very transaction that wrote the records; the tables here
-- hold what is still to be moved, and who moves it.

-- Names this installation in the log, for good: the transactional ids of its relays and the topic of their cursors. Made by
-- the first relay, so that databases copied before have one each.
create table millrace.outbox_identity (
  one boolean primary key default true check (one),
  id  uuid    not null
);

-- Draws the offsets of all shards. CACHE 1: an offset drawn is the highest drawn so far.
create sequence millrace.outbox_offset;
-- Which shards are written to: first shard × 64 + their number. A sequence, because it is read as it is now, whatever the
-- snapshot; see `outbox_append`.
create sequence millrace.outbox_layout minvalue 0;
select setval('millrace.outbox_layout', 4);
-- Which segment is written to, modulo 3.
create sequence millrace.outbox_segment minvalue 0 start 0;
select setval('millrace.outbox_segment', 0);

create table millrace.outbox_record (
  shard       smallint    not null,
  "offset"    bigint      not null,
  segment     smallint    not null,
  partition   integer,
  "timestamp" timestamptz not null,
  appended_at timestamptz not null default clock_timestamp(),
  topic       text        not null,
  key         bytea,
  value       bytea,
  -- As `record.headers`.
  headers     json,
  primary key (shard, "offset", segment)
) partition by list (segment);
-- Three, in turn: one is written to, what the one before it holds is relayed, the one before that is empty. So rows go away
-- by emptying a table that nobody writes to any more, and never by deleting them.
create table millrace.outbox_record_0 partition of millrace.outbox_record for values in (0)
  with (autovacuum_vacuum_insert_threshold = -1);
create table millrace.outbox_record_1 partition of millrace.outbox_record for values in (1)
  with (autovacuum_vacuum_insert_threshold = -1);
create table millrace.outbox_record_2 partition of millrace.outbox_record for values in (2)
  with (autovacuum_vacuum_insert_threshold = -1);

create table millrace.outbox_shard (
  shard        smallint    primary key,
  -- Who relays it. The epoch grows with every owner.
  owner        uuid,
  epoch        bigint      not null default 0,
  expires_at   timestamptz not null default '-infinity',
  -- The last record known to be in the log, and its hash: never ahead of the relay's cursor there. Null: none yet.
  relayed      bigint,
  relayed_hash bytea,
  -- Why it waits just now. Null: for nothing but records.
  waiting      text,
  -- Why it is stopped until somebody decides, and the cursor that was found in the log then ('' for none).
  halted       text,
  cursor       text,
  -- The cursor that an operator has decided about, and behind which record to go on; null: where the relay proposes.
  accepted     text,
  accepted_behind bigint,
  -- Everything of it is relayed and nothing will come: other shards have taken its place.
  retired      boolean     not null default false
);
insert into millrace.outbox_shard (shard) select generate_series(0, 3);

alter table millrace.process add column relays boolean not null default false;

-- Appends records, in the caller's transaction, in the order given, and returns the shards they are in. A hash chooses the
-- shard, so that what has one key is in one shard.
--
-- Offsets and locks are as in `log_append`: before it draws its first offset of a shard, a transaction takes a shared
-- advisory lock whose second key is a lower bound of all that it is going to draw there.
--
-- When the shards are changed, those of before are relayed to their end first. For that, nobody may write to one of them
-- once a relay has seen its end: so the layout is read again after the lock was taken. A relay that saw no lock will be
-- seen to have come after the change; and it reads the locks after the layout.
create function millrace.outbox_append(
  hashes integer[], topics text[], partitions integer[], timestamps timestamptz[], keys bytea[], vals bytea[], headers text[]
) returns smallint[]
language plpgsql volatile as $$
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
end $$;

-- Sets the layout, unless somebody else has changed it since it was read.
create function millrace.outbox_set_layout(seen bigint, wanted bigint) returns void
language plpgsql volatile as $$
begin
  perform pg_advisory_xact_lock(1297219583, 3);
  if pg_sequence_last_value('millrace.outbox_layout') = seen then
    perform setval('millrace.outbox_layout', wanted);
  end if;
end $$;

-- Per shard: the next offset to be drawn, and the horizon, below which every record is decided; see `log_horizon`.
create function millrace.outbox_horizon(shards smallint[])
returns table (shard smallint, horizon bigint, next_offset bigint)
language plpgsql volatile as $$
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
end $$;

-- Reads a shard behind an offset, up to its horizon: first a row with the horizon and the next offset, then records in
-- order, at most `max_records`, and at most `max_bytes` of keys, values and headers unless the first alone is larger.
create function millrace.outbox_fetch(which smallint, behind bigint, max_records integer, max_bytes bigint)
returns table (
  horizon bigint, next_offset bigint, "offset" bigint, topic text, partition integer, "timestamp" timestamptz,
  appended_at timestamptz, key bytea, value bytea, headers json
)
language plpgsql volatile set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
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
end $$;
