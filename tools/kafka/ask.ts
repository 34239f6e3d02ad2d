import { connect } from 'node:net'

/** Time (ms) that a broker has to answer. */
const answerTimeoutMs = 5_000
const metadata = { key: 3, version: 4 }

/**
 * Asks a broker, over a plain connection, which brokers of its cluster are alive: Kafka's Metadata request in a version
 * that all brokers know, without topics.
 *
 * @throws what the socket throws, or that the answer is not one.
 */
export async function aliveBrokers(port: number): Promise<number[]> {
  const clientId = Buffer.from('millrace')
  const request = Buffer.alloc(4 + 8 + 2 + clientId.length + 4 + 1)
  request.writeInt32BE(request.length - 4, 0)
  request.writeInt16BE(metadata.key, 4)
  request.writeInt16BE(metadata.version, 6)
  request.writeInt32BE(1, 8)
  request.writeInt16BE(clientId.length, 12)
  clientId.copy(request, 14)
  // What is left stays zero: no topics, none to be created.
  return brokersOf(await exchange(port, request))
}

/** Whether somebody takes connections there. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const say = (listening: boolean): void => {
      socket.destroy()
      resolve(listening)
    }
    socket.once('connect', () => say(true))
    socket.once('error', () => say(false))
  })
}

async function exchange(port: number, request: Buffer): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const socket = connect(port, '127.0.0.1')
  let answer = Buffer.alloc(0)
  socket.setTimeout(answerTimeoutMs, () => socket.destroy(new Error('no answer')))
  socket.on('data', (chunk: Buffer) => {
    answer = Buffer.concat([answer, chunk])
    if (answer.length >= 4 && answer.length >= 4 + answer.readInt32BE(0)) resolve(answer)
  })
  socket.once('error', reject)
  socket.once('close', () => reject(new Error('closed without an answer')))
  socket.write(request)
  try {
    return await promise
  } finally {
    socket.destroy()
  }
}

/** Size, correlation id, throttle time, then the brokers: id, host, port and rack of each. */
function brokersOf(answer: Buffer): number[] {
  let at = 12
  const ids: number[] = []
  const skipText = (): void => {
    at += 2 + Math.max(0, answer.readInt16BE(at))
  }
  const count = answer.readInt32BE(at)
  at += 4
  for (let index = 0; index < count; index += 1) {
    ids.push(answer.readInt32BE(at))
    at += 4
    skipText()
    at += 4
    skipText()
  }
  return ids
}
