// Runs a file of tests and prints how each of them ended: `node suite-scenario.ts <file>`.
import { run } from 'node:test'

const print = (event: object): void => console.log(JSON.stringify(event))

const events = run({ files: [process.argv[2] as string], isolation: 'none' })
events.on('test:pass', ({ name, details }) => {
  if (details.type !== 'suite') print({ event: 'passed', name })
})
events.on('test:fail', ({ name, details }) => {
  if (details.type === 'suite') return
  const { error } = details
  const why = error.cause instanceof Error ? error.cause.message : error.message
  print({ event: 'failed', name, why })
})
for await (const _ of events) {
  // Until the last of them has ended.
}
print({ event: 'ended' })
