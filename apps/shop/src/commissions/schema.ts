/** The commissions' own tables. May run again. */
export const COMMISSIONS_SCHEMA = `
  create schema if not exists shop_commissions;
  create table if not exists shop_commissions.commission (
    order_id         text    not null,
    item_id          text    not null,
    rate_percent     integer not null,
    commission_cents integer not null,
    primary key (order_id, item_id)
  );
`
