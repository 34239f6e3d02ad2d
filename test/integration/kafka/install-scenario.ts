// Asks for a Kafka in the folder that it is given, and says what it got.
import { ensureKafka } from '../../../tools/kafka/install.ts'

const [home] = process.argv.slice(2)
const said: string[] = []
try {
  const { version, classPath } = await ensureKafka({ say: (line) => said.push(line) }, home)
  console.log(JSON.stringify({ event: 'installed', version, classPath, said }))
} catch (error) {
  console.log(JSON.stringify({ event: 'refused', text: String(error), said }))
}
