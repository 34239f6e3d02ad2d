-- Parked dead letters are counted beside the open ones, so that nothing that has failed too often falls out of sight; and a
-- dead letter keeps when it failed last, and who may park it.

-- First, for it keeps whoever writes dead letters waiting until all of this is there.
alter table millrace.dead_letter
  -- When it failed in a replay since it was set aside. Null: it has not, so created_at is when it failed last.
  add column failed_at   timestamptz,
  -- Of a job that a replay has given back: in how many failed replays it is parked. Null: no replay has; somebody retried it.
  add column max_replays integer;

alter table millrace.fingerprint
  -- Dead letters that are parked.
  add column parked bigint not null default 0;
alter table millrace.fingerprint_delta
  add column parked bigint not null default 0;

-- As 0009_watching.sql says, and parked ones too. Only what is open, or becomes so, counts as set aside.
create or replace function millrace.dead_letter_written() returns trigger
language plpgsql set enable_nestloop = off as $$
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
end $$;

insert into millrace.fingerprint as g
  (application, fingerprint, open, parked, dead_lettered, first_seen_at, last_seen_at, example)
select coalesce(application, ''), fingerprint, 0, count(*), 0, min(created_at), max(created_at), min(id)
from millrace.dead_letter where state = 'parked' group by 1, 2
on conflict (application, fingerprint) do update set parked = excluded.parked;
