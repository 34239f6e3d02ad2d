import { runLatency } from './contender.ts'
import { startMillrace } from './millrace.ts'

await runLatency({
  async start(task, onHandled) {
    const { millrace, counted } = await startMillrace(task, onHandled)
    return (n) => millrace.publish(counted, { n })
  },
})
