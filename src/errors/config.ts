import { MillraceError } from './millrace-error.ts'

/** Collects everything that is wrong with a set of options, to report it at once. */
export class Problems {
  readonly #subject: string
  readonly #found: string[] = []

  /** @param subject what the options belong to, as a reader would name it: `job 'mail.send'`. */
  constructor(subject: string) {
    this.#subject = subject
  }

  /** Notes a problem unless `holds`. `got` is shown as JSON. */
  expect(holds: boolean, option: string, expected: string, got: unknown): void {
    if (!holds) this.#found.push(`${option}: expected ${expected}, got ${show(got)}`)
  }

  /** @throws E_CONFIG_INVALID naming every problem, if there is any. */
  throwIfAny(): void {
    if (this.#found.length === 0) return
    throw new MillraceError(
      'E_CONFIG_INVALID',
      `${this.#subject} has wrong options:\n${this.#found.map((line) => `  - ${line}`).join('\n')}`,
      { details: { subject: this.#subject, problems: [...this.#found] } },
    )
  }
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'bigint') return String(value)
  try {
    return JSON.stringify(value) ?? typeof value
  } catch {
    // Circular or otherwise unprintable: its kind must do.
    return Object.prototype.toString.call(value)
  }
}

/** Whether `value` is a whole number within the bounds, both included. */
export function isWhole(
  value: unknown,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max
}
