import {
  createConnection,
  createServer,
  type AddressInfo,
  type Server,
  type Socket,
} from 'node:net'

/** Which bytes are lost: those to the broker, or those from it. */
export type Direction = 'requests' | 'answers'

/** A proxy in front of one broker, on loopback; the broker is to advertise its port. */
export interface KafkaProxy extends AsyncDisposable {
  readonly port: number
  /** Where the broker is. */
  target: number
  /** From now on nothing passes in that direction; connections stay, and new ones are taken. */
  lose(direction: Direction): void
  /**
   * Cuts the connection of the next request of that kind (its key in the protocol): before the broker hears of it, or when
   * it has answered, so that nobody hears of that. Resolves when that has been done.
   */
  cutAt(apiKey: number, direction: Direction): Promise<void>
  /** Nobody listens on the port, and whoever was connected is cut off. */
  close(): Promise<void>
  /** All is well again. What was connected while bytes were lost is cut off. */
  heal(): Promise<void>
  /** How many requests the clients of that name have sent, and how often anybody has connected. */
  requests(clientId: string): number
  readonly connections: number
  /** Bytes that were lost. */
  readonly lost: number
  /** Bytes that the broker has answered. */
  readonly answered: number
}

/** Starts a proxy; it knows enough of Kafka's protocol to tell requests by the name of the client, and by their kind. */
export async function kafkaProxy(): Promise<KafkaProxy> {
  const counts = new Map<string, number>()
  const pairs = new Set<readonly [Socket, Socket]>()
  let losing: Direction | undefined
  let trap:
    | { readonly apiKey: number; readonly direction: Direction; readonly sprung: () => void }
    | undefined
  let connections = 0
  let lost = 0
  let answered = 0
  let server: Server | undefined
  let port = 0
  let target = 0

  const pass = (direction: Direction, bytes: Buffer, to: Socket): void => {
    if (losing === direction) lost += bytes.length
    else to.write(bytes)
  }
  const listen = async (): Promise<void> => {
    const made = createServer((client) => {
      connections += 1
      const broker = createConnection(target, '127.0.0.1')
      const pair = [client, broker] as const
      pairs.add(pair)
      for (const socket of pair) {
        socket.setNoDelay(true)
        socket.on('error', () => cut(pair))
        socket.on('close', () => cut(pair))
      }
      // Whoever sent the request that was waited for is never to hear of it.
      let sprung: typeof trap
      const note = requestReader((clientId, apiKey) => {
        counts.set(clientId, (counts.get(clientId) ?? 0) + 1)
        if (trap?.apiKey !== apiKey) return
        sprung = trap
        trap = undefined
      })
      const end = (): void => {
        cut(pair)
        sprung?.sprung()
      }
      client.on('data', (bytes) => {
        note(bytes)
        if (sprung?.direction === 'requests') end()
        else pass('requests', bytes, broker)
      })
      broker.on('data', (bytes) => {
        answered += bytes.length
        if (sprung === undefined) pass('answers', bytes, client)
        else end()
      })
    })
    made.listen(port, '127.0.0.1')
    await new Promise((resolve, reject) => {
      made.once('listening', resolve)
      made.once('error', reject)
    })
    port = (made.address() as AddressInfo).port
    server = made
  }
  const cut = (pair: readonly [Socket, Socket]): void => {
    pairs.delete(pair)
    for (const socket of pair) socket.destroy()
  }
  const close = async (): Promise<void> => {
    const closing = server
    server = undefined
    for (const pair of pairs) cut(pair)
    await new Promise<void>((resolve) => {
      if (closing === undefined) resolve()
      else closing.close(() => resolve())
    })
  }

  await listen()
  return {
    get port() {
      return port
    },
    get target() {
      return target
    },
    set target(to) {
      target = to
    },
    lose(direction) {
      losing = direction
    },
    cutAt: (apiKey, direction) =>
      new Promise((sprung) => {
        trap = { apiKey, direction, sprung }
      }),
    close,
    async heal() {
      if (losing !== undefined) for (const pair of pairs) cut(pair)
      losing = undefined
      if (server === undefined) await listen()
    },
    requests: (clientId) => counts.get(clientId) ?? 0,
    get connections() {
      return connections
    },
    get lost() {
      return lost
    },
    get answered() {
      return answered
    },
    [Symbol.asyncDispose]: close,
  }
}

/** Makes the function that is given the bytes of a client as they come, and tells name and kind in each request's head. */
function requestReader(
  onRequest: (clientId: string, apiKey: number) => void,
): (bytes: Buffer) => void {
  // Length, then which request, its version and its number; then the name's length, and the name.
  const nameAt = 14
  let head: Buffer = Buffer.alloc(0)
  let skip = 0
  return (bytes) => {
    let rest = bytes
    for (;;) {
      const skipped = Math.min(skip, rest.length)
      rest = rest.subarray(skipped)
      skip -= skipped
      if (rest.length === 0) return
      head = Buffer.concat([head, rest])
      rest = Buffer.alloc(0)
      if (head.length < nameAt) return
      const nameLength = Math.max(0, head.readInt16BE(nameAt - 2))
      if (head.length < nameAt + nameLength) return
      onRequest(head.toString('utf8', nameAt, nameAt + nameLength), head.readInt16BE(4))
      const length = 4 + head.readInt32BE(0)
      skip = Math.max(0, length - head.length)
      rest = head.subarray(Math.min(length, head.length))
      head = Buffer.alloc(0)
    }
  }
}
