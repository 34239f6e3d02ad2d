import { kafka } from '../../src/kafka/index.ts'
import { runPipeline } from './contender.ts'
import { prepareMillrace, startMillrace, unfinishedOfMillrace } from './millrace.ts'

await runPipeline({
  prepare: prepareMillrace,
  start: (task, marks) => startMillrace(task, marks, kafka({ brokers: [...task.brokers] })),
  unfinished: unfinishedOfMillrace,
})
