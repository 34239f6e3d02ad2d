import { setTimeout as sleep } from 'node:timers/promises'
import { createHash } from 'node:crypto'
import type { Millrace } from '../../src/app/start.ts'
import { seededRandom, type Random } from '../../src/core/random.ts'
import { isMillraceError } from '../../src/errors/millrace-error.ts'
import type { NewRecord } from '../../src/log/port.ts'
import { appendEntry, type ProduceEntry } from '../support/checker/history.ts'
import { chaosEvents, DISPOSITIONS, type Behaviour, type EventVersion } from './application.ts'

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
  /** Time of record number `n`, where the log is in Kafka. Default: the log's. */
  readonly timestamp?: (n: number) => Date
  /** How often it appends the same records. Default 1. */
  readonly copies?: number
  /** Partition of record number `n` when it is appended for the `time`th time, from 0. Default: by its key. */
  readonly partition?: (n: number, time: number) => number
  /** Key of record number `n`. Default: by chance. */
  readonly key?: (n: number) => string
  /** Size of the value of record number `n`, in bytes, which is filled up to that. Default: what it takes. */
  readonly bytes?: (n: number) => number
  /** Version of the event of record number `n`, where the log is in Kafka. Default 1. */
  readonly version?: (n: number) => EventVersion
  /** Writes the records some other way, of which nobody knows the outcome when it fails. Default: `append` of the log. */
  readonly append?: (records: readonly NewRecord[]) => Promise<void>
}

/** Options of {@link Producer}. */
export interface ProducerOptions {
  readonly millrace: Millrace
  readonly historyFile: string
  readonly seed: number
  readonly topic: string
  /** Publishes in transactions of the database, also where the log is outside of it. Default `false`. */
  readonly outbox?: boolean
  /** Number of keys. Default 40. */
  readonly keys?: number
}

interface Draft {
  readonly id: string
  readonly key: string
  readonly data: {
    readonly n: number
    readonly key: string
    readonly behaviour: Behaviour
    readonly filler?: string
    readonly desk?: string
  }
  readonly version: EventVersion
  readonly timestamp?: Date
}

/**
 * Produces records with keys and numbers in their keys, each transaction as one step, and writes down what it heard: `ok`
 * was acknowledged, `fail` was refused, `info` is not known. The same seed gives the same records.
 */
export class Producer {
  readonly #options: ProducerOptions
  readonly #random: Random
  readonly #seqs = new Map<string, number>()
  #n = 0
  #acknowledged = 0

  constructor(options: ProducerOptions) {
    this.#options = options
    this.#random = seededRandom(options.seed)
  }

  /** How many records were acknowledged. */
  get acknowledged(): number {
    return this.#acknowledged
  }

  /** Produces `count` records that are acknowledged. */
  async produce(count: number, options: ProduceOptions = {}): Promise<void> {
    const { perTransaction = 20, persistent = true } = options
    const end = this.#n + count
    while (this.#n < end) {
      const drafts = Array.from({ length: Math.min(perTransaction, end - this.#n) }, () =>
        this.#draft(options),
      )
      for (let tries = 0; ; tries += 1) {
        // A copy that is produced again is another event: nobody knows whether the first is there.
        const copies = tries === 0 ? drafts : drafts.map((d) => ({ ...d, id: `${d.id}~${tries}` }))
        const outcome = await this.#write(copies, options)
        if (outcome !== 'fail' || !persistent) break
        await sleep(20)
      }
    }
  }

  #draft({ behaviour, key, timestamp, bytes, version }: ProduceOptions): Draft {
    const n = this.#n
    this.#n += 1
    const { seed, keys = 40 } = this.#options
    const drawn = `key-${Math.floor(this.#random.next() * keys)}`
    const is = key?.(n) ?? drawn
    const does = behaviour?.(n) ?? FIRST[n] ?? this.#behaviour()
    const at = timestamp === undefined ? {} : { timestamp: timestamp(n) }
    const isOf = version?.(n) ?? 1
    const plain = { n, key: is, behaviour: does, ...(isOf === 1 ? {} : { desk: 'front' }) }
    const data = bytes === undefined ? plain : filledUp(plain, bytes(n))
    return { id: `event-${seed}-${n}`, key: is, data, version: isOf, ...at }
  }

  #behaviour(): Behaviour {
    let draw = this.#random.next() * 100
    for (const [behaviour, share] of SHARES) {
      draw -= share
      if (draw < 0) return behaviour
    }
    return 'plain'
  }

  async #write(
    drafts: readonly Draft[],
    { copies: times = 1, partition, append }: ProduceOptions,
  ): Promise<ProduceEntry['outcome']> {
    const { millrace, historyFile, topic, outbox = false } = this.#options
    let outcome: ProduceEntry['outcome'] = 'ok'
    try {
      if (append !== undefined) await append(drafts.map((draft) => recordOf(topic, draft)))
      else if (times === 1 && (outbox || millrace.log.transactional)) await this.#publish(drafts)
      else {
        for (let time = 0; time < times; time += 1) {
          await millrace.log.append(
            drafts.map((draft) => ({
              ...recordOf(topic, draft),
              ...(partition === undefined ? {} : { partition: partition(draft.data.n, time) }),
            })),
          )
        }
      }
    } catch (error) {
      const isUnknown = isMillraceError(error) && UNKNOWN.has(error.code)
      outcome = append !== undefined || isUnknown ? 'info' : 'fail'
    }
    if (outcome === 'ok') this.#acknowledged += drafts.length
    for (const { id, key, data } of drafts) {
      const seqInKey = this.#seqs.get(key) ?? 0
      this.#seqs.set(key, seqInKey + 1)
      appendEntry(historyFile, {
        entry: 'produce',
        id,
        key,
        seqInKey,
        sha256: createHash('sha256').update(valueOf(data)).digest('hex'),
        outcome,
        ...(times === 1 ? {} : { copies: times }),
        dispositions: DISPOSITIONS[data.behaviour],
      })
    }
    return outcome
  }

  /** In one transaction: what can be an event as an event, the rest by hand. */
  async #publish(drafts: readonly Draft[]): Promise<void> {
    const { millrace, topic } = this.#options
    const { placed, noted } = chaosEvents(topic)
    await millrace.transaction(async (tx) => {
      for (const draft of drafts) {
        const { id, data } = draft
        if (data.behaviour === 'broken' || data.behaviour === 'misshapen')
          await tx.append([recordOf(topic, draft)])
        else await tx.publish(data.behaviour === 'unhandled' ? noted : placed, data, { id })
      }
    })
  }
}

/** Nobody can say whether it was written. */
const UNKNOWN: ReadonlySet<string> = new Set(['E_DB_UNKNOWN_COMMIT', 'E_LOG_UNKNOWN_APPEND'])

function recordOf(topic: string, { id, key, data, version, timestamp }: Draft): NewRecord {
  const { placed, noted } = chaosEvents(topic)
  const { type } = data.behaviour === 'unhandled' ? noted : placed
  const headers = envelope(id, type, version)
  const at = timestamp === undefined ? {} : { timestamp }
  return { topic, key: Buffer.from(key), value: valueOf(data), headers, ...at }
}

function valueOf(data: Draft['data']): Uint8Array {
  if (data.behaviour === 'broken') return Buffer.from(`{"n": ${data.n}, `)
  if (data.behaviour === 'misshapen') return Buffer.from(JSON.stringify({ n: String(data.n) }))
  return Buffer.from(JSON.stringify(data))
}

/** With a text that takes the value to so many bytes, and in which no part is like another. */
function filledUp(data: Draft['data'], bytes: number): Draft['data'] {
  const missing = bytes - valueOf({ ...data, filler: '' }).length
  let filler = ''
  for (let n = 0; filler.length < missing; n += 1) filler += `${n} `
  return { ...data, filler: filler.slice(0, Math.max(0, missing)) }
}

function envelope(
  id: string,
  type: string,
  version: EventVersion,
): readonly (readonly [string, Uint8Array])[] {
  const headers = {
    ce_specversion: '1.0',
    ce_id: id,
    ce_type: type,
    ce_source: 'CHAOS',
    ...(version === 1 ? {} : { ce_dataversion: String(version) }),
    'content-type': 'application/json',
  }
  return Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)])
}
