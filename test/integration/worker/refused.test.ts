import { test } from 'node:test'
import { z } from 'zod'
import { job } from '../../../src/jobs/job.ts'
import { discard } from '../../../src/jobs/outcome.ts'
import { jobsBed } from '../../support/jobs.ts'
import { eventually } from '../../support/wait.ts'

const numbered = z.object({ n: z.int() })

test('results that the database refuses leave room for other work', async (t) => {
  const bed = await jobsBed(t)
  let refuses = true
  const hopeless = job('hopeless', { args: numbered, handle: () => discard('no') })
  const fine = job('fine', { args: numbered, handle() {} })
  await bed.work([hopeless, fine], {
    limits: { pollMs: 50, maxUnwritten: 2 },
    hooks: {
      async onFinished() {
        if (refuses) throw new Error('refused')
      },
    },
  })
  const ids = [await bed.insert(hopeless, { n: 1 }), await bed.insert(hopeless, { n: 2 })]
  await eventually(() => {
    const refused = bed.log.filter(
      ({ message, fields }) =>
        message === 'results could not be written yet' && fields['items'] === 1,
    )
    return refused.length >= 2
  })
  await bed.untilState(await bed.insert(fine, { n: 3 }), 'completed')
  refuses = false
  for (const id of ids) await bed.untilState(id, 'discarded')
})
