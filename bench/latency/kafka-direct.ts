import { kafka } from '../../src/kafka/index.ts'
import { runLatency } from './contender.ts'
import { startMillrace } from './millrace.ts'

await runLatency({
  async start(task, onHandled) {
    const log = kafka({ brokers: task.brokers })
    const { millrace, counted } = await startMillrace(task, onHandled, log)
    return (n) => millrace.publish(counted, { n })
  },
})
