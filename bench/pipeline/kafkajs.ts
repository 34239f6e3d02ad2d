import { Kafka, logLevel } from 'kafkajs'
import type { PipelineMarks, PipelineTask } from './contender.ts'

/**
 * KafkaJS as a team would glue it: whole batches, all partitions side by side, offsets committed after the jobs have been
 * inserted. At least once; no dead letters.
 */
export async function consumeWithKafkaJs(
  { brokers, topic }: PipelineTask,
  marks: PipelineMarks,
  insert: (args: readonly unknown[]) => Promise<void>,
): Promise<void> {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: `pipeline-${process.pid}` })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    partitionsConsumedConcurrently: 6,
    eachBatch: async ({ batch }) => {
      marks.onRecord()
      const args = batch.messages.map(({ value }) => JSON.parse(String(value)) as unknown)
      for (let at = 0; at < args.length; at += 1_000) await insert(args.slice(at, at + 1_000))
    },
  })
}
