// Loaded into the process of each test file: one that does not end by itself after its last test has left something
// open, and fails instead of hanging.
import { after } from 'node:test'

/** Time (ms) to come to an end after the last test. */
const graceMs = 5_000

after(() => {
  setTimeout(() => {
    const open = process.getActiveResourcesInfo().join(', ')
    console.error(`Still open ${graceMs / 1000} s after the last test: ${open}`)
    process.exit(1)
  }, graceMs).unref()
})
