import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createCore } from '../../../src/core/core.ts'
import { systemClock, type Clock } from '../../../src/core/clock.ts'
import { Batcher } from '../../../src/worker/batcher.ts'
import { keepingLogger } from '../../support/millrace.ts'
import { eventually } from '../../support/wait.ts'

/** A clock whose waits are over in no time. */
const hasty: Clock = { ...systemClock, after: (_, action) => systemClock.after(0, action) }

test('an item that is refused again and again is called out, and holds up no other', async () => {
  const logger = keepingLogger()
  const written: string[] = []
  let accepts = false
  const batcher = new Batcher<string>({
    core: createCore({ clock: hasty, logger }),
    name: 'test',
    maxBatch: 10,
    maxWaitMs: 1,
    maxInFlight: 1,
    async write(batch) {
      if (!accepts && batch.includes('bad')) throw new Error('refused')
      written.push(...batch)
    },
    describe: (jobId) => ({ jobId }),
    onWritten() {},
  })
  for (const item of ['one', 'bad', 'two']) batcher.add(item)
  const loud = await eventually(() => logger.lines.find(({ level }) => level === 'error'))
  assert.ok(loud)
  assert.deepEqual(loud.fields, { jobId: 'bad', name: 'test', refusals: 3 })
  assert.deepEqual(written.toSorted(), ['one', 'two'])
  assert.deepEqual([batcher.size, batcher.refused], [1, 1])
  accepts = true
  await batcher.empty()
  assert.deepEqual([batcher.size, batcher.refused], [0, 0])
  assert.equal(written.at(-1), 'bad')
})
