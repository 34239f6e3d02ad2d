import type { ClaimedJob } from './claimed-job.ts'
import { PRIORITIES } from './frontier.ts'

/**
 * Jobs that were claimed and not started, most urgent first, in order of place within a priority as they were claimed.
 */
export class Buffer {
  readonly #lines: { jobs: ClaimedJob[]; next: number }[] = Array.from(
    { length: PRIORITIES },
    () => ({ jobs: [], next: 0 }),
  )
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Adds jobs of one claim. */
  add(jobs: readonly ClaimedJob[]): void {
    const sorted = jobs.toSorted((a, b) => a.priority - b.priority || a.place - b.place)
    for (const job of sorted) {
      const line = this.#lines[job.priority] as { jobs: ClaimedJob[]; next: number }
      line.jobs.push(job)
    }
    this.#size += sorted.length
  }

  /** Takes the most urgent one. */
  take(): ClaimedJob | undefined {
    if (this.#size === 0) return undefined
    for (const line of this.#lines) {
      const job = line.jobs[line.next]
      if (job === undefined) continue
      line.next += 1
      if (line.next === line.jobs.length) {
        line.jobs = []
        line.next = 0
      }
      this.#size -= 1
      return job
    }
    return undefined
  }

  /** Takes out all that `wanted` says, and keeps the others in order. */
  takeWhere(wanted: (job: ClaimedJob) => boolean): ClaimedJob[] {
    const taken: ClaimedJob[] = []
    for (const line of this.#lines) {
      const kept: ClaimedJob[] = []
      for (let at = line.next; at < line.jobs.length; at += 1) {
        const job = line.jobs[at] as ClaimedJob
        if (wanted(job)) taken.push(job)
        else kept.push(job)
      }
      line.jobs = kept
      line.next = 0
    }
    this.#size -= taken.length
    return taken
  }

  /** Takes out all but the `keep` most urgent ones. */
  takeBeyond(keep: number): ClaimedJob[] {
    let left = keep
    return this.takeWhere(() => {
      left -= 1
      return left < 0
    })
  }
}
