// Starts a PostgreSQL, says so, and lives until it is killed.
import { embeddedPostgres } from '../../../src/testing/embedded-postgres.ts'

const [directory] = process.argv.slice(2)
const server = await embeddedPostgres({
  ...(directory === undefined ? {} : { directory }),
  onNotice: (text) => console.log(JSON.stringify({ event: 'notice', text })),
})
console.log(
  JSON.stringify({
    event: 'started',
    pid: server.pid,
    directory: server.directory,
    url: server.url(),
  }),
)
setInterval(() => undefined, 60_000)
