import { z } from 'zod'
import { job } from '../../../src/jobs/job.ts'

/** Does what its args say. `hang`: waits for ever; `kill`: ends its process with SIGKILL. */
export const touchy = job('touchy', {
  args: z.object({ does: z.enum(['hang', 'kill', 'nothing']) }),
  maxCrashes: 2,
  async handle({ does }, { id }) {
    console.log(JSON.stringify({ event: 'started', id, does }))
    if (does === 'kill') process.kill(process.pid, 'SIGKILL')
    if (does === 'nothing') return
    await new Promise(() => {})
  },
})
