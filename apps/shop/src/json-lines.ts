import type { Output } from './output.ts'

/** A JSON line per call on `stdout`, talk on `stderr`. A reader that is too slow misses lines; they do not pile up. */
export function jsonLines(stdout: NodeJS.WritableStream, stderr: NodeJS.WritableStream): Output {
  let full = false
  stdout.on('drain', () => {
    full = false
  })
  return {
    show(figures, last = false) {
      if (!full || last) full = !stdout.write(`${JSON.stringify(figures)}\n`)
    },
    talk(line) {
      stderr.write(`${line}\n`)
    },
    phase() {
      // Said as talk already.
    },
    close() {
      // Nothing was changed.
    },
  }
}
