import type {
  Dumps,
  EchoDump,
  JobDump,
  JobTransition,
  OriginDump,
  PositionTransition,
} from '../../support/checker/dumps.ts'
import type { HistoryEntry, ProduceEntry, RunEntry } from '../../support/checker/history.ts'

/** A history and what the tables hold, to be changed in the one place that a test is about. */
export interface World {
  readonly history: HistoryEntry[]
  readonly dumps: { -readonly [K in Exclude<keyof Dumps, 'echoes'>]: Dumps[K][number][] } & {
    echoes?: EchoDump[]
  }
}

export const TOPIC = 'topic-1'
const LANE = { application: 'app', topicId: TOPIC, partition: 0, generation: 0 }

/** Where the record at `offset` stands, for the handler that makes jobs. */
export function origin(offset: bigint): OriginDump {
  return { ...LANE, handler: 'mail', offset, index: 0 }
}

/** The entry of the record at `offset`: one job of `mail`, one row of `ledger`. */
export function produced(offset: bigint, change: Partial<ProduceEntry> = {}): ProduceEntry {
  return {
    entry: 'produce',
    id: `event-${offset}`,
    key: 'k',
    seqInKey: Number(offset),
    sha256: `hash-${offset}`,
    outcome: 'ok',
    dispositions: { mail: 'jobs', ledger: 'done' },
    ...change,
  }
}

/** A completed job of the record at `offset`. */
export function job(offset: bigint, change: Partial<JobDump> = {}): JobDump {
  return {
    id: `job-${offset}`,
    kind: 'mail.send',
    state: 'completed',
    attempt: 1,
    maxAttempts: 3,
    crashes: 0,
    maxCrashes: 3,
    origin: origin(offset),
    finished: true,
    orphaned: false,
    ...change,
  }
}

/** A change of the job of the record at `offset`. */
export function change(
  seq: number,
  offset: bigint,
  is: Partial<JobTransition> & Pick<JobTransition, 'op'>,
): JobTransition {
  return {
    seq: BigInt(seq),
    xid: `${offset}-${seq}`,
    actor: 'w1',
    table: 'job',
    id: `job-${offset}`,
    kind: 'mail.send',
    from: null,
    to: null,
    attempt: 0,
    maxAttempts: 3,
    crashes: 0,
    token: null,
    oldToken: null,
    holderAlive: true,
    origin: origin(offset),
    at: seq * 1_000,
    scheduledAt: 0,
    attemptedAt: null,
    ...is,
  }
}

/** The four changes of a job that is inserted, claimed and completed, from number `seq` on. */
export function lifeOf(seq: number, offset: bigint): JobTransition[] {
  const token = `token-${offset}`
  const at = seq * 1_000
  return [
    change(seq, offset, { op: 'insert', to: 'available' }),
    change(seq + 1, offset, {
      op: 'update',
      from: 'available',
      to: 'executing',
      attempt: 1,
      token,
      attemptedAt: at + 1_000,
    }),
    change(seq + 2, offset, {
      op: 'delete',
      from: 'executing',
      attempt: 1,
      token,
      oldToken: token,
    }),
    change(seq + 3, offset, {
      op: 'insert',
      table: 'history',
      to: 'completed',
      attempt: 1,
      token,
    }),
  ]
}

/** A change of the position. */
export function move(
  seq: number,
  next: bigint,
  is: Partial<PositionTransition> = {},
): PositionTransition {
  return {
    seq: BigInt(seq),
    xid: `move-${seq}`,
    actor: 'w1',
    ...LANE,
    owner: 'p1',
    epoch: 1n,
    next,
    ...is,
  }
}

/** A run in which a worker is killed and everything is right: three records, read in two batches. */
export function world(): World {
  const offsets = [0n, 1n, 2n]
  const run: RunEntry = {
    entry: 'run',
    name: 'by hand',
    seed: 1,
    application: 'app',
    orderedHandlers: ['ledger'],
    transactionalKinds: ['mail.send'],
    callingKinds: ['mail.send'],
    backoffMs: { 'mail.send': [100, 200] },
    faultless: false,
  }
  return {
    history: [
      run,
      ...offsets.map((offset) => produced(offset)),
      ...offsets.map(
        (offset): HistoryEntry => ({
          entry: 'effect',
          idempotencyKey: `key-${offset}`,
          jobId: `job-${offset}`,
          attempt: 1,
          appliedAt: 5,
          applied: true,
        }),
      ),
      ...offsets.map(
        (offset): HistoryEntry => ({
          entry: 'executed',
          execution: `execution-${offset}`,
          handler: 'ledger',
          key: 'k',
          worker: 'w1',
          start: String(offset * 10n),
          end: String(offset * 10n + 5n),
        }),
      ),
      { entry: 'fault', name: 'SIGKILL', target: 'w1', start: 1, end: 2, seen: true, evidence: '' },
      { entry: 'sample', ...LANE, next: '2' },
      { entry: 'quiet', reached: true, afterMs: 10, limitMs: 100, left: '' },
    ],
    dumps: {
      records: offsets.map((offset) => ({
        topicId: TOPIC,
        partition: 0,
        offset,
        id: `event-${offset}`,
        key: 'k',
        sha256: `hash-${offset}`,
      })),
      positions: [{ ...LANE, epoch: 1n, next: 3n, end: 3n, halted: null }],
      batches: [
        {
          ...LANE,
          first: 0n,
          next: 2n,
          records: 2,
          done: 2,
          jobs: 2,
          filtered: 0,
          deadLettered: 0,
        },
        {
          ...LANE,
          first: 2n,
          next: 3n,
          records: 1,
          done: 1,
          jobs: 1,
          filtered: 0,
          deadLettered: 0,
        },
      ],
      jobs: offsets.map((offset) => job(offset)),
      attempts: [],
      effects: offsets.flatMap((offset) => [
        {
          seq: offset,
          source: 'record' as const,
          name: 'ledger',
          eventId: `event-${offset}`,
          key: 'k',
          jobId: null,
          attempt: null,
          topicId: TOPIC,
          partition: 0,
          offset,
          generation: 0,
          execution: `execution-${offset}`,
        },
        {
          seq: 10n + offset,
          source: 'job' as const,
          name: 'mail.send',
          eventId: `event-${offset}`,
          key: 'k',
          jobId: `job-${offset}`,
          attempt: 1,
          topicId: null,
          partition: null,
          offset: null,
          generation: null,
          execution: null,
        },
      ]),
      deadLetters: [],
      jobTransitions: offsets.flatMap((offset) => lifeOf(Number(offset) * 10, offset)),
      positionTransitions: [
        move(1, 0n, { owner: null, epoch: 0n, actor: 'test' }),
        move(2, 0n),
        move(3, 2n),
        move(4, 3n),
      ],
      moves: [],
      replays: [],
      letterTransitions: [],
      replayTransitions: [],
      outcomeTransitions: [],
      pauseTransitions: [],
      actionTransitions: [],
    },
  }
}
