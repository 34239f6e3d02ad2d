import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { AlertMessage } from '../../src/alerts/alerts.ts'
import { cleanup, type TestScope } from './cleanup.ts'

/** Somebody who is told of failures. */
export interface WebhookReceiver<M> {
  /** With a path and a query that nobody is to see. */
  readonly url: string
  /** What came, whatever was answered. */
  readonly messages: M[]
  readonly headers: IncomingHttpHeaders[]
  /** Ends the server; `open` lets it listen on the same port again. */
  close(): Promise<void>
  open(): Promise<void>
}

/** What is in the address, and in the headers that are sent along. */
export const SECRET = 'hunter2'

/** A server that keeps what it gets; `answer` says what it makes of the nth message, counted from 1. */
export async function webhookReceiver<M = AlertMessage>(
  t: TestScope,
  answer: (response: ServerResponse, nth: number) => void = (response) => response.end(),
): Promise<WebhookReceiver<M>> {
  const messages: M[] = []
  const headers: IncomingHttpHeaders[] = []
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      headers.push(request.headers)
      messages.push(JSON.parse(body) as M)
      answer(response, messages.length)
    })
  })
  let port = 0
  const open = async (): Promise<void> => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const close = async (): Promise<void> => {
    server.closeAllConnections()
    if (!server.listening) return
    server.close()
    await once(server, 'close')
  }
  await open()
  cleanup(t, close)
  return {
    url: `http://127.0.0.1:${port}/services/${SECRET}?token=${SECRET}`,
    messages,
    headers,
    close,
    open,
  }
}
