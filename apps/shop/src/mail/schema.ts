/** The mail service's own tables. May run again. */
export const MAIL_SCHEMA = `
  create schema if not exists shop_mail;
  create table if not exists shop_mail.sent_mail (
    message_id text        primary key,
    order_id   text        not null,
    recipient  text        not null,
    sent_at    timestamptz not null default clock_timestamp()
  );
`
