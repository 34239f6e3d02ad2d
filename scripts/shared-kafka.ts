import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startKafka, type Kafka } from '../tools/kafka/start.ts'

/** The one broker of a run of tests. */
export interface SharedKafka {
  /** Where test files ask for it: the first request starts it, every answer is `127.0.0.1:PORT`. */
  readonly url: string
  stop(): Promise<void>
}

/** Offers a plain broker to the test files of a run, which are processes of their own. */
export async function offerKafka(): Promise<SharedKafka> {
  let starting: Promise<Kafka> | undefined
  const server = createServer((_, response) => {
    starting ??= startKafka()
    starting.then(
      ({ brokers }) => response.end(brokers.join()),
      (error: unknown) => {
        starting = undefined
        response.writeHead(500).end(error instanceof Error ? error.message : String(error))
      },
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    stop: async () => {
      server.close()
      server.closeAllConnections()
      const kafka = await starting?.catch(() => undefined)
      await kafka?.stop()
    },
  }
}
