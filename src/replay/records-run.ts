import { deadLetterOf, describeFailure, type FailedRecord } from '../consumer/apply.ts'
import type { BatchScope } from '../consumer/batch-environment.ts'
import { toItem } from '../consumer/items.ts'
import { prepareItems } from '../consumer/prepare.ts'
import type { Item } from '../consumer/step.ts'
import { failpoint } from '../core/failpoint.ts'
import { skipSeen } from '../consumer/seen-events.ts'
import { fingerprintOf } from '../dead-letter/fingerprint.ts'
import type { LogRecord } from '../log/port.ts'
import type { Queryable } from '../postgres/queryable.ts'
import type { ChunkCounts } from './outcomes.ts'
import { addToNote, nextRange, noteFailures, rangeIsAt, type ReplayRange } from './ranges.ts'
import type { PastRecords } from './replay.ts'
import { ReplayWork, type ChunkLimits } from './replay-work.ts'

const ASK_AGAIN_MS = 500

/**
 * Works through past records of a topic, partition by partition, for one handler: at positions of its own that are thrown
 * away with it. The position moves in the transaction that applies, so each record is handled once by a replay. What fails
 * becomes a dead letter of a generation of its own, minus the replay's number.
 */
export class RecordsRun extends ReplayWork {
  protected override async chunk(limits: ChunkLimits): Promise<number> {
    const { pool } = this.options.environment
    const range = await nextRange(pool, this.replay.id)
    await failpoint('replay:read')
    if (range === undefined) return 0
    const scope = this.scope({ replay: this.replay.id })
    const records = this.replay.records as PastRecords
    const { topic, topicId, handler } = records
    const { bound } = this.options
    if (bound?.handlerNames.has(handler) !== true) {
      const names = [...(bound?.handlerNames ?? [])].join(', ')
      return this.stop(
        `${this.replay.application ?? ''} has no handler '${handler}' in the code that is deployed now; there are: ${names}`,
      )
    }
    const { partition, next: offset } = range
    const [read] = await scope.env.log.read(
      [{ topic, topicId, partition, offset, maxRecords: limits.records, maxBytes: limits.bytes }],
      { signal: this.signal },
    )
    if (read === undefined || read.unavailable !== undefined) {
      await scope.env.core.clock.sleep(ASK_AGAIN_MS, { signal: this.signal })
      return 1
    }
    if (read.outOfRange === 'unknown-partition' || read.corrupt !== undefined) {
      const why = read.corrupt?.reason ?? 'the topic is not the one it was'
      return this.stop(`partition ${partition} cannot be read from offset ${offset} on: ${why}`)
    }
    if (read.outOfRange !== undefined) {
      // What was purged meanwhile cannot be handled again; it was not there when its turn came.
      const isPurged = read.outOfRange === 'before-start'
      const why = isPurged ? 'were purged before their turn came' : 'are not in the log any more'
      await this.#move(range, isPurged ? read.logStart : range.end, why)
      return 1
    }
    const wanted = read.records.filter((record) => record.offset < range.end)
    const cut = wanted.length < read.records.length || read.nextOffset > range.end
    await this.#handle(scope, records, range, wanted, cut ? range.end : read.nextOffset)
    return Math.max(1, wanted.length)
  }

  async #handle(
    scope: BatchScope,
    { handler }: PastRecords,
    range: ReplayRange,
    records: readonly LogRecord[],
    end: bigint,
  ): Promise<void> {
    const items: Item[] = []
    for (const record of records)
      items.push(await itemOf(scope, record, handler, -Number(range.replayId)))
    if (items.length === 0) return this.#move(range, end)
    await skipSeen(scope, items)
    await prepareItems(scope, items)
    let at = range.next
    const endOf = (item: Item): bigint => items[items.indexOf(item) + 1]?.record.offset ?? end
    const step = async (
      some: readonly Item[],
      action: (tx: Queryable) => Promise<{ failed: readonly FailedRecord[]; filtered: number }>,
    ): Promise<void> => {
      const from = at
      const to = endOf(some.at(-1) as Item)
      await this.transact(
        async (tx) => {
          const { failed, filtered } = await action(tx)
          await noteFailures(
            tx,
            range.replayId,
            failed.map((one) => {
              const error = describeFailure(one)
              const { stage, handler: name, item } = one
              const fingerprint = fingerprintOf({ stage, handler: name, error })
              return { fingerprint, error, partition: range.partition, offset: item.record.offset }
            }),
          )
          await range.move(tx, from, to)
          const tried = some.length - filtered
          const passed = tried - failed.length
          return { counts: { passed, failed: failed.length, skipped: filtered, parked: 0 } }
        },
        (db) => rangeIsAt(db, range, to),
      )
      at = to
    }
    await this.settle(scope, items, {
      commit: (some, apply) =>
        step(some, async (tx) => {
          const { failed, filtered } = await apply(tx as Parameters<typeof apply>[0], some)
          await this.setAside(
            tx,
            // Also what nobody could read is of this handler alone: the others have had the record.
            failed.map((one) => deadLetterOf(scope.env, { ...one, handler })),
          )
          return { failed, filtered }
        }),
      rehearsed: (some, applied) => step(some, () => Promise.resolve(applied)),
    })
  }

  /**
   * Past holes, and past what is not there any more.
   * @param gone why what is passed over is not handled: then it is counted, and said. Default: there was nothing.
   */
  async #move(range: ReplayRange, to: bigint, gone?: string): Promise<void> {
    const end = to > range.end ? range.end : to
    const skipped = gone === undefined ? 0 : Number(end - range.next)
    const counts: ChunkCounts = { passed: 0, failed: 0, skipped, parked: 0 }
    await this.transact(
      async (tx) => {
        await range.move(tx, range.next, end)
        if (gone !== undefined) {
          const { replayId, partition, next } = range
          const which = `${skipped} past records of partition ${partition}, from offset ${next} on`
          await addToNote(tx, replayId, `${which}, ${gone}`)
        }
        return { counts }
      },
      (db) => rangeIsAt(db, range, end),
    )
  }
}

/** A past record for one handler; others of the application are not concerned. */
async function itemOf(
  scope: BatchScope,
  record: LogRecord,
  name: string,
  generation: number,
): Promise<Item> {
  const item = await toItem(scope, record, generation)
  if (item.rejected !== undefined || item.filtered !== undefined) return item
  const steps = item.steps.filter(({ handler }) => handler.name === name)
  return steps.length > 0 ? { ...item, steps } : { ...item, steps, filtered: 'another handler' }
}
