-- The first shard of those that a shard was made with: what came before a change of the number of shards is relayed to its
-- end before what came after it, also when the number was changed several times. Null, for shards of before this migration
-- that are not written to any more: nobody knows, so each of them is relayed by itself.
alter table millrace.outbox_shard add column layout smallint;
update millrace.outbox_shard set layout = pg_sequence_last_value('millrace.outbox_layout') / 64
where shard >= pg_sequence_last_value('millrace.outbox_layout') / 64;

-- Makes the shards that may come after those of the layout `seen`, unless that was changed since it was read. Others may make
-- more or fewer of them at the same time: which one is their first is the same for all who saw that layout. A shard that was
-- made for a layout that did not come to be belongs to the one that has it in the end.
create function millrace.outbox_make_shards(seen bigint, count integer) returns void
language plpgsql volatile as $$
declare
  first_shard bigint := seen / 64 + seen % 64;
begin
  perform pg_advisory_xact_lock(1297219583, 3);
  if pg_sequence_last_value('millrace.outbox_layout') = seen then
    insert into millrace.outbox_shard (shard, layout)
    select i, first_shard from generate_series(first_shard, first_shard + count - 1) i
    on conflict (shard) do update set layout = excluded.layout;
  end if;
end $$;

-- Of a shard that is stopped: the record that the log refuses, where that is why.
alter table millrace.outbox_shard add column refused bigint;
