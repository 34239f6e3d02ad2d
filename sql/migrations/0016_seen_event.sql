-- Ids of events that handlers with `once` have had, so that an event that its producer has appended twice is handled once. A
-- row is written in the transaction of the batch that handles the event, so it is there exactly when the event is handled.
create table millrace.seen_event (
  -- 128 bits of a hash of application, handler, topic, type, source and id: ids alone may have 500 characters.
  key         uuid        primary key,
  -- Where the copy stands that was handled. The same place again is the same record; another one holds a duplicate.
  topic_id    uuid        not null,
  "offset"    bigint      not null,
  -- Until when it is remembered: as long as the handler said when it had the event.
  expires_at  timestamptz not null,
  partition   integer     not null
);
-- One time per batch, so that its entries share one: docs/decisions/0011 says what a row costs.
create index seen_event_expiry on millrace.seen_event (expires_at);
