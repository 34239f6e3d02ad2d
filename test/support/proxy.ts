import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'

/** Where a connection is cut at a COMMIT: before the server hears of it, or after it has answered. */
export type CutSide = 'request' | 'reply'

/** What a connection had done in its transaction when it asked for the COMMIT. */
export interface Commit {
  /** Names of the statements since BEGIN, as labelled: `millrace:job-insert`. */
  readonly statements: readonly string[]
}

/** A cut that was made. */
export interface Cut extends Commit {
  readonly side: CutSide
}

/** A proxy in front of PostgreSQL, on loopback. */
export interface PostgresProxy extends AsyncDisposable {
  /** `url`, by way of the proxy. */
  through(url: string): string
  /** Cuts the connection of the next COMMIT that is `wanted`; resolves when that has been done. */
  cutCommit(side: CutSide, wanted: (commit: Commit) => boolean): Promise<Cut>
  /** Cuts the connection of the next statement with this label, one that commits by itself; resolves when that has been done. */
  cutStatement(side: CutSide, label: string): Promise<Cut>
  /** Ends every connection and refuses new ones, until the function is called that it gives. */
  cutOff(): () => void
  /** How many statements with this label were asked for. */
  count(label: string): number
}

interface Trap {
  readonly side: CutSide
  readonly wanted: (label: string, isCommit: boolean, commit: Commit) => boolean
  readonly sprung: (cut: Cut) => void
}

const QUERY = 0x51
const PARSE = 0x50
const LABEL = /^\s*\/\* ([\w:-]+) \*\//

/**
 * Starts a proxy in front of the server of `url`. It understands as much of the protocol (version 3, without TLS) as is
 * needed to see the texts of simple queries and of Parse, and passes every byte on as it is.
 */
export async function postgresProxy(url: string): Promise<PostgresProxy> {
  const { hostname, port } = new URL(url)
  const sockets = new Set<Socket>()
  const traps = new Set<Trap>()
  const counts = new Map<string, number>()
  let isCutOff = false

  const server = createServer((client) => {
    if (isCutOff) {
      client.destroy()
      return
    }
    const upstream = createConnection(Number(port), hostname)
    const cutBoth = (): void => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', cutBoth)
      socket.on('close', () => {
        sockets.delete(socket)
        cutBoth()
      })
    }
    let replyTrap: { readonly trap: Trap; readonly cut: Cut } | undefined
    upstream.on('data', (bytes) => {
      if (replyTrap === undefined) {
        client.write(bytes)
        return
      }
      // The server has answered, so it has done it; the client will never hear of it.
      cutBoth()
      replyTrap.trap.sprung(replyTrap.cut)
      replyTrap = undefined
    })
    let statements: string[] = []
    const reader = messageReader((text) => {
      const label = LABEL.exec(text)?.[1] ?? ''
      counts.set(label, (counts.get(label) ?? 0) + 1)
      const plain = text.replace(LABEL, '').trim().toLowerCase()
      if (plain.startsWith('begin')) statements = []
      else statements.push(label)
      const isCommit = /^commit\b/.test(plain)
      const commit = { statements: statements.slice(0, -1) }
      const trap = [...traps].find(({ wanted }) => wanted(label, isCommit, commit))
      if (trap === undefined) return 'pass'
      traps.delete(trap)
      const cut = { ...commit, side: trap.side }
      if (trap.side === 'reply') {
        replyTrap = { trap, cut }
        return 'pass'
      }
      cutBoth()
      trap.sprung(cut)
      return 'drop'
    })
    client.on('data', (bytes) => {
      if (reader(bytes) === 'pass') upstream.write(bytes)
    })
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', reject)
  })
  const address = server.address() as AddressInfo
  return {
    through(original) {
      const copy = new URL(original)
      copy.hostname = '127.0.0.1'
      copy.port = String(address.port)
      return copy.href
    },
    cutCommit: (side, wanted) =>
      new Promise((resolve) => {
        traps.add({
          side,
          wanted: (_, isCommit, commit) => isCommit && wanted(commit),
          sprung: resolve,
        })
      }),
    cutStatement: (side, wanted) =>
      new Promise((resolve) => {
        traps.add({ side, wanted: (label) => label === wanted, sprung: resolve })
      }),
    cutOff() {
      isCutOff = true
      for (const socket of sockets) socket.destroy()
      return () => {
        isCutOff = false
      }
    },
    count: (label) => counts.get(label) ?? 0,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}

/**
 * Makes the function that is given the bytes of a client as they come, and calls `onText` for every text of a statement.
 * It says `drop` when `onText` did: then these bytes must not be passed on.
 */
function messageReader(onText: (text: string) => 'pass' | 'drop'): (bytes: Buffer) => string {
  let rest: Buffer = Buffer.alloc(0)
  // The first message, which opens the connection, has no type.
  let started = false
  return (bytes) => {
    rest = Buffer.concat([rest, bytes])
    for (;;) {
      const header = started ? 1 : 0
      if (rest.length < header + 4) return 'pass'
      const length = header + rest.readInt32BE(header)
      if (rest.length < length) return 'pass'
      const message = rest.subarray(0, length)
      rest = rest.subarray(length)
      if (!started) {
        started = true
        continue
      }
      const text = textOf(message)
      if (text !== undefined && onText(text) === 'drop') return 'drop'
    }
  }
}

/** The text of a statement: of a simple query, or of Parse, where the statement's name stands before it. */
function textOf(message: Buffer): string | undefined {
  const type = message[0]
  if (type !== QUERY && type !== PARSE) return undefined
  const from = type === QUERY ? 5 : message.indexOf(0, 5) + 1
  return message.toString('utf8', from, message.indexOf(0, from))
}
