// Starts a broker, says so, and lives until it is killed.
import { startKafka } from '../../../tools/kafka/start.ts'

const [directory] = process.argv.slice(2)
const kafka = await startKafka(directory === undefined ? {} : { directory })
const pid = kafka.nodes[0]?.pid
console.log(JSON.stringify({ event: 'started', pid, directory: kafka.directory }))
setInterval(() => undefined, 60_000)
