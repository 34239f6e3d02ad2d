import test from 'node:test'
import { massFailure } from '../../bench/dead-letters/mass-failure.ts'
import { testDatabase } from '../support/database.ts'

/** As `npm run bench -- dead-letters`. */
const COUNT = 200_000
const BAD = [3, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000]

test('works a mass failure off: stopped by the brake, or dead-lettered, grouped, tried, replayed over a kill, and seven left that are truly bad', async (t) => {
  const { url } = await testDatabase(t)
  // It looks at everything itself, so that the benchmark judges its 200,000 too.
  await massFailure({
    databaseUrl: url,
    count: COUNT,
    bad: new Set(BAD),
    note: (text) => t.diagnostic(text),
  })
})
