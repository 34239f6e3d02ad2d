import type { ClaimedJob } from './claimed-job.ts'

/**
 * Which claims this process holds: by token, how many jobs of it are not through with yet. A claim is noted before it is
 * sent, so a token that the database shows as ours and that is not in here is one whose reply was lost.
 */
export class HeldClaims {
  readonly #jobs = new Map<string, number>()

  /** A claim is about to be sent. */
  begin(token: string): void {
    this.#jobs.set(token, 1)
  }

  /** Its reply has come, with so many jobs; or it failed, with none. */
  end(token: string, jobs: number): void {
    if (jobs === 0) this.#jobs.delete(token)
    else this.#jobs.set(token, jobs)
  }

  /** A job is through with. */
  release({ token }: ClaimedJob): void {
    const left = (this.#jobs.get(token) ?? 0) - 1
    if (left > 0) this.#jobs.set(token, left)
    else this.#jobs.delete(token)
  }

  has(token: string): boolean {
    return this.#jobs.has(token)
  }
}
