-- Watching: open dead letters per application and fingerprint, kept and never counted; and which fingerprints somebody has
-- been told of.

-- One row per application and fingerprint that ever had a dead letter. '' where there is none.
create table millrace.fingerprint (
  application   text        not null,
  fingerprint   text        not null,
  -- Dead letters that are open.
  open          bigint      not null,
  -- How often one of the group became open, from the first on.
  dead_lettered bigint      not null,
  first_seen_at timestamptz not null,
  last_seen_at  timestamptz not null,
  -- Number of the first dead letter. It may have been deleted since.
  example       bigint      not null,
  -- Names the alert, whoever sends it and however often.
  alert_id      uuid        not null default gen_random_uuid(),
  -- When the receiver of alerts has taken it.
  told_at       timestamptz,
  primary key (application, fingerprint)
);
create index fingerprint_open on millrace.fingerprint (open) where open <> 0;
create index fingerprint_untold on millrace.fingerprint (first_seen_at) where told_at is null;

-- What writers changed and upkeep has not folded yet: nobody waits for anybody's row.
create table millrace.fingerprint_delta (
  application   text        not null,
  fingerprint   text        not null,
  open          bigint      not null,
  dead_lettered bigint      not null,
  example       bigint      not null,
  at            timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- How many became open, by minute, for the rate; kept for a little more than an hour.
create table millrace.fingerprint_minute (
  minute        timestamptz not null,
  application   text        not null,
  fingerprint   text        not null,
  dead_lettered bigint      not null,
  primary key (minute, application, fingerprint)
);

-- The oldest open one of an application, and of a group, each by one look.
create index dead_letter_open on millrace.dead_letter (coalesce(application, ''), created_at) where state = 'open';
create index dead_letter_open_group on millrace.dead_letter
  (coalesce(application, ''), fingerprint, created_at) where state = 'open';

-- Per statement, not per row, and whoever writes: nothing that closes, opens or deletes dead letters can forget to count.
-- A plan that was made for one row must not be kept for thousands.
create function millrace.dead_letter_written() returns trigger
language plpgsql set enable_nestloop = off as $$
begin
  if TG_OP = 'INSERT' then
    insert into millrace.fingerprint_delta (application, fingerprint, open, dead_lettered, example)
    select coalesce(w.application, ''), w.fingerprint, count(*), count(*), min(w.id)
    from written w where w.state = 'open' group by 1, 2;
  elsif TG_OP = 'DELETE' then
    insert into millrace.fingerprint_delta (application, fingerprint, open, dead_lettered, example)
    select coalesce(u.application, ''), u.fingerprint, -count(*), 0, min(u.id)
    from unwritten u where u.state = 'open' group by 1, 2;
  else
    insert into millrace.fingerprint_delta (application, fingerprint, open, dead_lettered, example)
    select c.application, c.fingerprint, sum(c.open), count(*) filter (where c.open > 0), min(c.id)
    from (
      select coalesce(w.application, '') as application, w.fingerprint, w.id, 1 as open
      from written w join unwritten u on u.id = w.id
      where w.state = 'open'
        and (u.state, u.application, u.fingerprint) is distinct from (w.state, w.application, w.fingerprint)
      union all
      select coalesce(u.application, ''), u.fingerprint, u.id, -1
      from unwritten u join written w on u.id = w.id
      where u.state = 'open'
        and (u.state, u.application, u.fingerprint) is distinct from (w.state, w.application, w.fingerprint)
    ) c
    group by 1, 2;
  end if;
  return null;
end $$;
create trigger dead_letter_inserted after insert on millrace.dead_letter
  referencing new table as written for each statement execute function millrace.dead_letter_written();
create trigger dead_letter_updated after update on millrace.dead_letter
  referencing old table as unwritten new table as written for each statement execute function millrace.dead_letter_written();
create trigger dead_letter_deleted after delete on millrace.dead_letter
  referencing old table as unwritten for each statement execute function millrace.dead_letter_written();

insert into millrace.fingerprint (application, fingerprint, open, dead_lettered, first_seen_at, last_seen_at, example)
select coalesce(application, ''), fingerprint, count(*) filter (where state = 'open'), count(*),
  min(created_at), max(created_at), min(id)
from millrace.dead_letter group by 1, 2;

-- How the sending of alerts goes. One row, made by the first process that was given a place to send them to.
create table millrace.alert_delivery (
  one           boolean     primary key default true check (one),
  -- Groups first seen before this are nobody's news.
  since         timestamptz not null default clock_timestamp() - interval '1 hour',
  -- Failures in a row, the attempt under way included.
  attempts      integer     not null default 0,
  -- Not before this is the next attempt: whoever attempts moves it on first, so that nobody else does meanwhile.
  next_at       timestamptz not null default '-infinity',
  -- The last answer or the lack of one, in words; null: it went well.
  trouble       text,
  last_told_at  timestamptz
);
