import { embeddedPostgres } from '../src/testing/embedded-postgres.ts'
import { admin, median, warmUp } from './contender-process.ts'
import { massFailure, type MassFailure } from './dead-letters/mass-failure.ts'
import type { BenchOptions, BenchRow } from './rows.ts'

/**
 * How fast records that a deploy cannot read become dead letters, and how fast the fixed deploy replays them, its process
 * being killed in the middle; both beside how fast the fixed code handles the same records when nothing goes wrong. All that
 * came of it is judged. Each figure is from the start of a process; six partitions of the table log, one process, durable
 * defaults; the median of the rounds.
 */
export async function benchDeadLetters(options: BenchOptions): Promise<BenchRow[]> {
  await using server = await embeddedPostgres({
    settings: { shared_buffers: '1GB', max_wal_size: '4GB', min_wal_size: '2GB' },
    onNotice: options.note,
  })
  await warmUp(server.url(), options.count)
  const seen: MassFailure[] = []
  for (let round = 1; round <= options.rounds; round += 1) {
    const database = `mass_failure_${round}`
    await admin(server.url(), `create database ${database}`)
    seen.push(
      await massFailure({
        databaseUrl: server.url(database),
        count: options.count,
        bad: new Set([3, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000]),
        note: (text) => options.note(`round ${round}: ${text}`),
      }),
    )
    await admin(server.url(), `drop database ${database} with (force)`)
    await admin(server.url(), 'checkpoint')
  }
  const handled = median(seen.map(({ handledPerSecond }) => handledPerSecond))
  const row = (metric: string, value: number): BenchRow => ({
    bench: 'dead-letters',
    metric,
    value: Math.round(value),
    unit: 'records/s',
    peer: 'the same records handled',
    peerValue: Math.round(handled),
    ratio: Math.round((value / handled) * 100) / 100,
  })
  return [
    row('dead-lettered', median(seen.map((one) => one.deadLetteredPerSecond))),
    row('replay', median(seen.map((one) => one.replayedPerSecond))),
  ]
}
