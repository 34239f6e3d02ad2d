import { application, job, toJob, type Application } from 'millrace'
import { orderPlaced } from '../orders/events.ts'
import { confirmation, confirmationArgs, type Mail } from './confirmation.ts'

/** Sends a mail; returns when the mail server has taken it. */
export type SendMail = (mail: Mail, options: { readonly signal: AbortSignal }) => Promise<void>

/** Sends a confirmation for every order: a job each, because a mail server may be slow, or down. */
export function mailApplication(send: SendMail): Application {
  const sendConfirmation = job('order.send-confirmation', {
    args: confirmationArgs,
    queue: 'mail',
    timeout: '30s',
    async handle(args, context) {
      const mail = confirmation(args, context.idempotencyKey)
      // Outside the database, so at least once, and always with the same Message-ID.
      await send(mail, { signal: context.signal })
      // For `millrace trace`, which cannot see it otherwise.
      context.effect('mail.sent', { messageId: mail.messageId })
      // In the database, and together with the completion of the job, so once.
      await context.transaction(async (tx) => {
        await tx.query(
          `/* shop:note-sent-mail */ insert into shop_mail.sent_mail (message_id, order_id, recipient)
           values ($1, $2, $3) on conflict do nothing`,
          [mail.messageId, args.orderId, mail.to],
        )
      })
    },
  })
  return application('mail').on(
    orderPlaced,
    toJob(sendConfirmation, ({ data }) => data),
  )
}
