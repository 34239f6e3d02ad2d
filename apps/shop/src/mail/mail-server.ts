import { once } from 'node:events'
import { SMTPServer, type SMTPServerDataStream } from 'smtp-server'
import type { Mailbox } from './mailbox.ts'

/** Largest mail that is taken, in bytes. */
const SIZE_LIMIT = 1_048_576
const CLOSE_MS = 2_000

/** A mail server for the shop's own mails: real SMTP on 127.0.0.1, on a free port, into a mailbox. */
export class MailServer {
  readonly mailbox: Mailbox
  readonly #smtp: SMTPServer

  constructor(mailbox: Mailbox) {
    this.mailbox = mailbox
    this.#smtp = new SMTPServer({
      name: 'shop.example',
      banner: 'the mail server of the shop',
      disabledCommands: ['AUTH', 'STARTTLS'],
      disableReverseLookup: true,
      size: SIZE_LIMIT,
      maxClients: 100,
      closeTimeout: CLOSE_MS,
      logger: false,
      onData: (stream, _session, callback) => {
        this.#take(stream).then(
          (answer) => callback(null, answer),
          (error: unknown) => callback(error instanceof Error ? error : new Error(String(error))),
        )
      },
    })
    // A client that breaks off; its mail was not answered for, so it is sent again.
    this.#smtp.on('error', () => {})
  }

  /** Opens the mailbox and listens; gives the port. */
  async start(): Promise<number> {
    await this.mailbox.open()
    const server = this.#smtp.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new TypeError('no port was given')
    return address.port
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => this.#smtp.close(resolve))
    await this.mailbox.close()
  }

  async #take(stream: SMTPServerDataStream): Promise<string> {
    const chunks: Buffer[] = []
    for await (const chunk of stream) chunks.push(chunk as Buffer)
    if (stream.sizeExceeded) throw refusal(552, 'the mail is larger than 1 MiB')
    const content = Buffer.concat(chunks)
    const messageId = messageIdOf(content)
    if (messageId === undefined) throw refusal(550, 'the mail has no Message-ID')
    const stored = await this.mailbox.store(messageId, content)
    return stored === 'stored' ? 'stored' : 'known already, not stored again'
  }
}

function messageIdOf(content: Buffer): string | undefined {
  const end = content.indexOf('\r\n\r\n')
  const header = content.toString('latin1', 0, end === -1 ? content.length : end)
  return /^message-id:\s*(<[^>\r\n]+>)/im.exec(header)?.[1]
}

function refusal(responseCode: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode })
}
