import assert from 'node:assert/strict'
import { test } from 'node:test'
import { naiveLog } from '../../support/naive-log.ts'
import { tableLogHarness } from '../../support/table-log.ts'
import { neverSkips } from './never-skips.ts'

test('the suite notices a log that reads whatever is visible above the last offset', async (t) => {
  const harness = await tableLogHarness(t)
  const log = naiveLog(harness.log, harness.pool)
  await assert.rejects(neverSkips({ ...harness, log }), {
    name: 'AssertionError',
    message: `the commit of 'early' was passed over`,
  })
})
