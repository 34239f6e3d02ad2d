/** The orders' own tables. May run again. */
export const ORDERS_SCHEMA = `
  create schema if not exists shop_orders;
  create table if not exists shop_orders.placed_order (
    -- The receipt's number, so that the same purchase is never an order twice.
    order_id    text        primary key,
    household   text        not null,
    placed_at   timestamptz not null,
    total_cents integer     not null
  );
  create table if not exists shop_orders.order_item (
    order_id    text    not null references shop_orders.placed_order on delete cascade,
    item_id     text    not null,
    category    text    not null,
    price_cents integer not null,
    primary key (order_id, item_id)
  );
`
