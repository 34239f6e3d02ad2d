import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkHeldBack } from '../../../src/app/doctor-held-back.ts'
import { listConsumers } from '../../../src/consumer/queries.ts'
import { counted, operated } from '../../support/operating.ts'
import { eventually } from '../../support/wait.ts'

const APP = { application: 'app' } as const

test('a transaction that stays open is found by the doctor, for nobody lags behind what is not decided', async (t) => {
  const all = await operated(t)
  const { millrace } = await all.start()
  const writer = await all.pool.connect()
  try {
    await writer.query('begin')
    await millrace.publish(counted, { n: 5 }, { tx: writer })
    await millrace.publish(counted, { n: 6 })
    const one = await eventually(async () => {
      const [found] = await listConsumers(all.pool, all.log, APP)
      return found?.state === 'reading' && found
    })
    assert.ok(one)
    assert.deepEqual([one.lag, one.heldBack], [0n, 2n])
    assert.match(one.reason ?? '', /still open holds back what stands from offset 5 up to 7/)
    // A moment is nothing to tell of.
    assert.deepEqual(await checkHeldBack(all.operator), [])
    await all.pool.query(
      `update millrace.position set updated_at = updated_at - interval '5 minutes'`,
    )
    const [check] = await checkHeldBack(all.operator)
    assert.equal(check?.state, 'warning')
    assert.match(check?.found ?? '', /open in numbers\/0: .* 2 records in numbers\/0/)
    await writer.query('commit')
    await all.caughtUp()
    await all.pool.query(
      `update millrace.position set updated_at = updated_at - interval '5 minutes'`,
    )
    assert.deepEqual(await checkHeldBack(all.operator), [])
  } finally {
    writer.release(true)
  }
})
