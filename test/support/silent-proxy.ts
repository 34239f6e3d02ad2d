import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'
import { cleanup, type TestScope } from './cleanup.ts'

/** A proxy in front of PostgreSQL that can swallow notifications, as a pooler in transaction mode does: without a word. */
export interface SilentProxy {
  /** The server's URL, by way of the proxy. */
  readonly url: string
  /** How many notifications were swallowed. */
  readonly swallowed: number
  /** Whether they are swallowed from now on. At first they are. */
  swallow(does: boolean): void
}

/** The type of NotificationResponse. */
const NOTIFICATION = 0x41

/** Starts one on loopback, until the test ends. It understands version 3 of the protocol, without TLS. */
export async function silentProxy(t: TestScope, original: string): Promise<SilentProxy> {
  const { hostname, port } = new URL(original)
  const sockets = new Set<Socket>()
  let swallows = true
  let swallowed = 0
  const passes = (type: number): boolean => {
    if (!swallows || type !== NOTIFICATION) return true
    swallowed += 1
    return false
  }
  const server = createServer((client) => {
    const upstream = createConnection(Number(port), hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.pipe(upstream)
    const reader = messageReader((message) => {
      if (passes(message[0] as number)) client.write(message)
    })
    upstream.on('data', reader)
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', reject)
  })
  cleanup(t, async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => {
      server.close(resolve)
    })
  })
  const through = new URL(original)
  through.hostname = '127.0.0.1'
  through.port = String((server.address() as AddressInfo).port)
  return {
    url: through.href,
    get swallowed() {
      return swallowed
    },
    swallow(does) {
      swallows = does
    },
  }
}

/** Makes the function that is given a server's bytes as they come, and calls `onMessage` for each whole message. */
function messageReader(onMessage: (message: Buffer) => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    while (rest.length >= 5) {
      const length = 1 + rest.readInt32BE(1)
      if (rest.length < length) return
      onMessage(rest.subarray(0, length))
      rest = rest.subarray(length)
    }
  }
}
