/** The tills' own tables. May run again. */
export const TILLS_SCHEMA = `
  create schema if not exists shop_tills;
  -- One row: the number of the next purchase, counted from 0 over all rounds.
  create table if not exists shop_tills.progress (
    single        boolean primary key default true check (single),
    next_purchase bigint  not null
  );
  -- One row: where the events of this shop are.
  create table if not exists shop_tills.log (
    single boolean primary key default true check (single),
    kind   text    not null
  );
  insert into shop_tills.progress (next_purchase) values (0) on conflict do nothing;
`
