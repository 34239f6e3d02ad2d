import { permanent } from 'millrace'
import { createTransport } from 'nodemailer'
import type { SendMail } from './app.ts'

/** Sends mails to a mail server, over a few connections that stay open. */
export interface SmtpSender {
  readonly send: SendMail
  close(): void
}

const PATIENCE_MS = 10_000

/** A sender for the mail server on this port of 127.0.0.1. */
export function smtpSender(port: number): SmtpSender {
  const transport = createTransport({
    pool: true,
    host: '127.0.0.1',
    port,
    secure: false,
    ignoreTLS: true,
    maxConnections: 10,
    maxMessages: Number.POSITIVE_INFINITY,
    connectionTimeout: PATIENCE_MS,
    greetingTimeout: PATIENCE_MS,
    socketTimeout: PATIENCE_MS,
  })
  return {
    async send({ messageId, to, subject, text }, { signal }) {
      signal.throwIfAborted()
      const mail = { from: 'The shop <orders@shop.example>', to, subject, text, messageId }
      try {
        await abortable(transport.sendMail(mail), signal)
      } catch (error) {
        // A server that says 5xx will say so for ever; everything else may be better next time.
        if (responseCodeOf(error) >= 500) {
          throw permanent('the mail server refused the mail', { cause: error })
        }
        throw error
      }
    },
    close: () => transport.close(),
  }
}

/** The mail may still go out after the signal; then the next attempt sends it again under the same Message-ID. */
async function abortable(sent: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = (): void => {
    reject(signal.reason as Error)
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    await Promise.race([sent, promise])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function responseCodeOf(error: unknown): number {
  const { responseCode } = error as { readonly responseCode?: unknown }
  return typeof responseCode === 'number' ? responseCode : 0
}
