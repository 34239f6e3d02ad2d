import { z } from 'zod'
import { inTransaction } from '../../src/bridge/in-transaction.ts'
import { application } from '../../src/consumer/application.ts'
import { event } from '../../src/events/event.ts'
import { start, type Millrace } from '../../src/app/start.ts'
import type { EventDefinition } from '../../src/events/event.ts'
import type { LogFactory } from '../../src/log/factory.ts'
import type { LatencyTask } from './contender.ts'

/** What the events are. */
export type Counted = EventDefinition<string, { n: number }, { n: number }>

/** Starts one process of ours with everything at its default, whose handler runs in the position's transaction. */
export async function startMillrace(
  { databaseUrl, topic }: LatencyTask,
  onHandled: (n: number) => void,
  log?: LogFactory,
): Promise<{ readonly millrace: Millrace; readonly counted: Counted }> {
  const counted = event('COUNTED', {
    source: 'BENCH',
    topic,
    schema: z.object({ n: z.int() }),
    key: ({ n }) => String(n),
  })
  const reader = application('reader').on(
    counted,
    inTransaction(({ data }) => {
      onHandled(data.n)
      return Promise.resolve()
    }),
  )
  const millrace = await start({
    database: databaseUrl,
    run: [reader],
    ...(log === undefined ? {} : { log }),
  })
  return { millrace, counted }
}
