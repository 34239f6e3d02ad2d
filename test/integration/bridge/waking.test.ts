import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { inTransaction } from '../../../src/bridge/in-transaction.ts'
import { toJob } from '../../../src/bridge/to-job.ts'
import type { RecordContext } from '../../../src/consumer/handler.ts'
import { createCore } from '../../../src/core/core.ts'
import type { ReceivedEvent } from '../../../src/events/received-event.ts'
import { job } from '../../../src/jobs/job.ts'
import { newJob } from '../../../src/jobs/new-job.ts'
import type { QueueWake } from '../../../src/jobs/wake.ts'
import { TableLog } from '../../../src/log/table-log.ts'
import { transaction } from '../../../src/postgres/transaction.ts'
import { testDatabase } from '../../support/database.ts'

test('handlers wake the workers through what they are bound to, after the commit', async (t) => {
  const { pool } = await testDatabase(t)
  const core = createCore()
  const log = new TableLog({ core, pool })
  const woken: string[] = []
  const waker = {
    wake: (wakes: readonly QueueWake[]) => void woken.push(...wakes.map(({ queue }) => queue)),
  }
  const environment = { core, pool, log, waker, codeVersion: null }
  const args = z.object({})
  const mail = job('mail', { args, queue: 'mail', handle: () => {} })
  const note = job('note', { args, queue: 'notes', handle: () => {} })
  const event = { id: 'e', correlationId: 'c', traceparent: null } as ReceivedEvent<string, unknown>
  const record = { topic: 't', partition: 0, offset: 0n, headers: [] as const }
  const context = { application: 'app', handler: 'h', record } as unknown as RecordContext
  const makes = toJob(mail, () => ({})).bind(environment)
  const inserts = inTransaction(async (_, { tx }) => void (await tx.insert(note, {}))).bind(
    environment,
  )
  await transaction(pool, core, async (tx) => {
    await makes.applyBatch?.([{ event, prepared: newJob(core, mail, {}), context }], tx)
    await inserts.apply?.(event, undefined, context, tx)
    await tx.settle()
    assert.deepEqual(woken, [])
  })
  assert.deepEqual(woken.toSorted(), ['mail', 'notes'])
  await log.close()
})
