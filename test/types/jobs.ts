import { expectTypeOf } from 'expect-type'
import * as v from 'valibot'
import { z } from 'zod'
import type { Core } from '../../src/core/core.ts'
import { event } from '../../src/events/event.ts'
import type { JobContext } from '../../src/jobs/context.ts'
import { job, type AnyJobDefinition, type JobArgs, type JobInput } from '../../src/jobs/job.ts'
import { newJob } from '../../src/jobs/new-job.ts'
import { snooze } from '../../src/jobs/outcome.ts'

declare const core: Core
declare const context: JobContext

const dated = job('dated', {
  args: z.object({
    at: z.iso.datetime().transform((text) => new Date(text)),
    note: z.string().default(''),
  }),
  async handle(args) {
    expectTypeOf(args).toEqualTypeOf<{ at: Date; note: string }>()
    if (args.note === '') return snooze('1s')
    return undefined
  },
})
expectTypeOf(dated.kind).toEqualTypeOf<'dated'>()
expectTypeOf<JobInput<typeof dated>>().toEqualTypeOf<{ at: string; note?: string | undefined }>()
expectTypeOf<JobArgs<typeof dated>>().toEqualTypeOf<{ at: Date; note: string }>()

const tiny = job('tiny', { args: v.object({ n: v.number() }), handle() {} })
expectTypeOf<JobInput<typeof tiny>>().toEqualTypeOf<{ n: number }>()

// Definitions of different args go into one list.
const all: readonly AnyJobDefinition[] = [dated, tiny]
expectTypeOf(all).toExtend<readonly AnyJobDefinition[]>()

newJob(core, dated, { at: '2026-01-01T00:00:00Z' })
// @ts-expect-error -- what is inserted is the input, which is JSON
newJob(core, dated, { at: new Date() })
// @ts-expect-error -- the args of another job
newJob(core, tiny, { at: '2026-01-01T00:00:00Z' })

// @ts-expect-error -- a handler returns an outcome or nothing
job('wrong', { args: z.object({}), handle: () => 5 })

const sold = event('SOLD', { source: 'S', topic: 't', schema: z.object({ orderId: z.string() }) })

export async function publishes(): Promise<void> {
  await context.publish(sold, { orderId: 'o' })
  // @ts-expect-error -- the data of another event
  await context.publish(sold, { itemId: 'i' })
  const id = await context.insert(tiny, { n: 1 })
  expectTypeOf(id).toEqualTypeOf<string>()
  const written = await context.transaction(async (tx) => {
    await tx.publish(sold, { orderId: 'o' })
    await tx.insert(tiny, { n: 2 })
    const { rowCount } = await tx.query('select 1')
    return rowCount
  })
  expectTypeOf(written).toEqualTypeOf<number | null>()
}
