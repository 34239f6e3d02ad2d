import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { PositionHints } from '../../../src/consumer/position-hints.ts'
import { createCore } from '../../../src/core/core.ts'
import type { CommittedPosition, Log } from '../../../src/log/port.ts'
import { eventually } from '../../support/wait.ts'

const at = (partition: number, next: bigint): CommittedPosition => ({
  topic: 'orders',
  topicId: 'id',
  partition,
  next,
})

/** Hints to a log that remembers them; each sending waits until it is let go. */
function setup(
  t: TestContext,
  send: (positions: readonly CommittedPosition[]) => Promise<boolean> = () => Promise.resolve(true),
): { hints: PositionHints; sent: string[][] } {
  const sent: string[][] = []
  const log = {
    noteCommitted: async (_application: string, positions: readonly CommittedPosition[]) => {
      sent.push(positions.map(({ partition, next }) => `${partition}:${next}`))
      return send(positions)
    },
  } as unknown as Log
  const core = createCore()
  const hints = new PositionHints({ core, log, application: 'mail', intervalMs: 20 })
  t.after(() => hints.stop())
  return { hints, sent }
}

test('of many positions of a partition the newest is sent, once', async (t) => {
  const { hints, sent } = setup(t)
  for (const next of [1n, 2n, 3n]) hints.note(at(0, next))
  hints.note(at(1, 7n))
  hints.start()
  await eventually(() => sent.length > 0)
  hints.note(at(1, 8n))
  await eventually(() => sent.length > 1)
  assert.deepEqual(sent, [['0:3', '1:7'], ['1:8']])
})

test('the last position of a partition is sent before it is given back', async (t) => {
  const { hints, sent } = setup(t)
  hints.note(at(0, 5n))
  await hints.last(at(0, 5n))
  assert.deepEqual(sent, [['0:5']])
  await hints.last(at(0, 5n))
  assert.equal(sent.length, 1, 'and not once more')
})

test('nothing is said any more of a partition that was lost', async (t) => {
  const { hints, sent } = setup(t)
  hints.note(at(0, 5n))
  hints.forget(at(0, 5n))
  hints.note(at(1, 6n))
  hints.start()
  await eventually(() => sent.length > 0)
  assert.deepEqual(sent, [['1:6']])
})

test('a log that does not answer holds up no partition that is given back', async (t) => {
  const { hints, sent } = setup(t, () => new Promise(() => {}))
  hints.note(at(0, 5n))
  await hints.last(at(0, 5n))
  assert.deepEqual(sent, [['0:5']])
})

test('what was not taken is sent again, as it is by then', async (t) => {
  let taken = false
  const { hints, sent } = setup(t, () => {
    const before = taken
    taken = true
    return Promise.resolve(before)
  })
  hints.note(at(0, 5n))
  hints.note(at(1, 6n))
  hints.start()
  await eventually(() => sent.length > 0)
  hints.note(at(0, 8n))
  await eventually(() => sent.length > 1)
  assert.deepEqual(sent[1]?.toSorted(), ['0:8', '1:6'])
})
