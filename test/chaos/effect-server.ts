import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { appendEntry } from '../support/checker/history.ts'

/** What a job sends to the outside world. */
export interface EffectCall {
  readonly idempotencyKey: string
  readonly jobId: string
  readonly attempt: number
  /** The job's kind. */
  readonly kind: string
}

/** The outside world: an HTTP server on loopback that applies a call once per key and writes each call down. */
export interface EffectServer extends AsyncDisposable {
  readonly url: string
  /** From now on calls (of jobs of this kind) are applied, but get no answer before {@link release}. */
  hold(kind?: string): void
  /** How many calls wait for their answer. */
  readonly held: number
  /** Answers what waits. */
  release(): void
}

/** Starts the outside world; its store is its own, its calls go into `historyFile`. */
export async function effectServer(historyFile: string): Promise<EffectServer> {
  const applied = new Set<string>()
  const waiting: (() => void)[] = []
  let holding: ((kind: string) => boolean) | undefined
  const server = createServer((request, response) => {
    readCall(request).then(
      ({ idempotencyKey, jobId, attempt, kind }) => {
        const isNew = !applied.has(idempotencyKey)
        applied.add(idempotencyKey)
        const appliedAt = Date.now()
        appendEntry(historyFile, {
          entry: 'effect',
          idempotencyKey,
          jobId,
          attempt,
          appliedAt,
          applied: isNew,
        })
        const answer = (): void => {
          response.writeHead(204).end()
        }
        if (holding?.(kind)) waiting.push(answer)
        else answer()
      },
      // The caller was killed while it spoke: nothing was asked for.
      () => response.destroy(),
    )
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', reject)
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/`,
    hold(wanted) {
      holding = (kind) => wanted === undefined || kind === wanted
    },
    get held() {
      return waiting.length
    },
    release() {
      holding = undefined
      for (const answer of waiting.splice(0)) answer()
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}

async function readCall(request: IncomingMessage): Promise<EffectCall> {
  let text = ''
  for await (const chunk of request) text += String(chunk)
  return JSON.parse(text) as EffectCall
}
