import { createCore } from '../../src/core/core.ts'
import { tableLog } from '../../src/log/table-log.ts'
import { createPool } from '../../src/postgres/connect.ts'
import { runPipeline } from './contender.ts'
import { prepareMillrace, startMillrace, unfinishedOfMillrace } from './millrace.ts'

await runPipeline({
  async prepare(task) {
    await prepareMillrace(task)
    const pool = createPool(task.databaseUrl)
    const log = tableLog().open({ core: createCore(), pool })
    await log.createTopic(task.topic, { partitions: 6 })
    for (let at = 0; at < task.count; at += 5_000) {
      await log.append(
        Array.from({ length: Math.min(5_000, task.count - at) }, (_, i) => ({
          topic: task.topic,
          key: Buffer.from(String(at + i)),
          value: Buffer.from(JSON.stringify({ n: at + i, text: 'hello' })),
          headers: [],
        })),
      )
    }
    await log.close()
    await pool.end()
  },
  start: (task, marks) => startMillrace(task, marks, tableLog()),
  unfinished: unfinishedOfMillrace,
})
