import { Admin } from '@platformatic/kafka'

/** Makes a topic with one partition and these settings, as somebody else's program would. */
export async function createTopicWith(
  brokers: readonly string[],
  topic: string,
  settings: Readonly<Record<string, string>>,
): Promise<void> {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: [...brokers] })
  const configs = Object.entries(settings).map(([name, value]) => ({ name, value }))
  try {
    await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1, configs })
  } finally {
    await admin.close()
  }
}
