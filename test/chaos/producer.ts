import { setTimeout as sleep } from 'node:timers/promises'
import { createHash } from 'node:crypto'
import type { Millrace } from '../../src/app/start.ts'
import { seededRandom, type Random } from '../../src/core/random.ts'
import { isMillraceError } from '../../src/errors/millrace-error.ts'
import { appendEntry, type ProduceEntry } from '../support/checker/history.ts'
import { DISPOSITIONS, orderNoted, orderPlaced, type Behaviour } from './application.ts'

/** How often a behaviour is chosen, in a hundred records; the rest is plain. */
const SHARES: readonly (readonly [Behaviour, number])[] = [
  ['quiet', 8],
  ['apply-hopeless', 2],
  ['job-flaky', 5],
  ['job-hopeless', 2],
  ['unhandled', 6],
  ['broken', 2],
  ['misshapen', 2],
]

/** The first records: each behaviour at least once, whatever the seed. */
const FIRST: readonly Behaviour[] = ['plain', ...SHARES.map(([behaviour]) => behaviour)]

/** Options of {@link Producer.produce}. */
export interface ProduceOptions {
  /** Records of one transaction. Default 20. */
  readonly perTransaction?: number
  /** Chooses what happens to record number `n`. Default: each at first, then by chance. */
  readonly behaviour?: (n: number) => Behaviour
  /** Goes on after a transaction that failed, until so many records were acknowledged. Default true. */
  readonly persistent?: boolean
}

interface Draft {
  readonly id: string
  readonly key: string
  readonly data: { readonly n: number; readonly key: string; readonly behaviour: Behaviour }
}

/**
 * Produces records with keys and numbers in their keys, each transaction as one step, and writes down what it heard: `ok`
 * was acknowledged, `fail` was refused, `info` is not known. The same seed gives the same records.
 */
export class Producer {
  readonly #millrace: Millrace
  readonly #historyFile: string
  readonly #seed: number
  readonly #random: Random
  readonly #keys: number
  readonly #seqs = new Map<string, number>()
  #n = 0

  constructor(millrace: Millrace, historyFile: string, seed: number, keys = 40) {
    this.#millrace = millrace
    this.#historyFile = historyFile
    this.#seed = seed
    this.#random = seededRandom(seed)
    this.#keys = keys
  }

  /** Produces `count` records that are acknowledged. */
  async produce(count: number, options: ProduceOptions = {}): Promise<void> {
    const { perTransaction = 20, persistent = true } = options
    const end = this.#n + count
    while (this.#n < end) {
      const drafts = Array.from({ length: Math.min(perTransaction, end - this.#n) }, () =>
        this.#draft(options.behaviour),
      )
      for (let tries = 0; ; tries += 1) {
        // A copy that is produced again is another event: nobody knows whether the first is there.
        const copies = tries === 0 ? drafts : drafts.map((d) => ({ ...d, id: `${d.id}~${tries}` }))
        const outcome = await this.#write(copies)
        if (outcome !== 'fail' || !persistent) break
        await sleep(20)
      }
    }
  }

  #draft(choose = (n: number): Behaviour => FIRST[n] ?? this.#behaviour()): Draft {
    const n = this.#n
    this.#n += 1
    const key = `key-${Math.floor(this.#random.next() * this.#keys)}`
    return { id: `event-${this.#seed}-${n}`, key, data: { n, key, behaviour: choose(n) } }
  }

  #behaviour(): Behaviour {
    let draw = this.#random.next() * 100
    for (const [behaviour, share] of SHARES) {
      draw -= share
      if (draw < 0) return behaviour
    }
    return 'plain'
  }

  async #write(drafts: readonly Draft[]): Promise<ProduceEntry['outcome']> {
    let outcome: ProduceEntry['outcome'] = 'ok'
    try {
      await this.#millrace.transaction(async (tx) => {
        for (const { id, key, data } of drafts) {
          if (data.behaviour === 'broken' || data.behaviour === 'misshapen') {
            const headers = envelope(id)
            const value = valueOf(data)
            const record = { topic: orderPlaced.topic, key: Buffer.from(key), value, headers }
            await this.#millrace.log.append([record], { tx })
          } else {
            const definition = data.behaviour === 'unhandled' ? orderNoted : orderPlaced
            await tx.publish(definition, data, { id })
          }
        }
      })
    } catch (error) {
      outcome = isMillraceError(error) && error.code === 'E_DB_UNKNOWN_COMMIT' ? 'info' : 'fail'
    }
    for (const { id, key, data } of drafts) {
      const seqInKey = this.#seqs.get(key) ?? 0
      this.#seqs.set(key, seqInKey + 1)
      appendEntry(this.#historyFile, {
        entry: 'produce',
        id,
        key,
        seqInKey,
        sha256: createHash('sha256').update(valueOf(data)).digest('hex'),
        outcome,
        dispositions: DISPOSITIONS[data.behaviour],
      })
    }
    return outcome
  }
}

function valueOf(data: Draft['data']): Uint8Array {
  if (data.behaviour === 'broken') return Buffer.from(`{"n": ${data.n}, `)
  if (data.behaviour === 'misshapen') return Buffer.from(JSON.stringify({ n: String(data.n) }))
  return Buffer.from(JSON.stringify(data))
}

function envelope(id: string): readonly (readonly [string, Uint8Array])[] {
  const headers = {
    ce_specversion: '1.0',
    ce_id: id,
    ce_type: orderPlaced.type,
    ce_source: 'CHAOS',
    'content-type': 'application/json',
  }
  return Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)])
}
