import test from 'node:test'
import { fiveOrOne } from './many-processes.ts'

test('gives the same result with one process, and with five that are killed at random', async (t) => {
  await fiveOrOne(t, { records: 2_000, kills: 12 })
})
