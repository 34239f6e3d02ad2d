import { TimeoutReason } from '../core/abort.ts'
import type { Clock } from '../core/clock.ts'

/** Where alerts are sent to. */
export interface AlertOptions {
  /**
   * Takes a POST with JSON and answers 2xx when it has it. `https://…` or `http://…`, without user and password: those go into
   * `headers`. Redirects are not followed. Never logged, for there may be a secret in it.
   */
  readonly webhook: string
  /** Sent along, such as `authorization`. Never logged. Default none. */
  readonly headers?: Readonly<Record<string, string>>
  /** How long it may take to answer, in milliseconds. Default 10,000. Bounds 100 … 60,000. */
  readonly timeoutMs?: number
}

/** The default of {@link AlertOptions.timeoutMs}. */
export const ALERT_TIMEOUT_MS = 10_000

/**
 * Sends `body` once. Resolves to `undefined` when it was taken, else to why not, in words that tell nothing of the address.
 * @throws the signal's reason when it is aborted; the receiver may have it then, or not.
 */
export async function postAlert(
  clock: Clock,
  { webhook, headers = {}, timeoutMs = ALERT_TIMEOUT_MS }: AlertOptions,
  message: { readonly id: string; readonly body: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  const late = new AbortController()
  const cancel = clock.after(timeoutMs, () => late.abort(new TimeoutReason(timeoutMs)))
  try {
    const answer = await fetch(webhook, {
      method: 'POST',
      headers: {
        'user-agent': 'millrace',
        ...headers,
        'content-type': 'application/json',
        'idempotency-key': message.id,
      },
      body: message.body,
      redirect: 'manual',
      signal: AbortSignal.any([signal, late.signal]),
    })
    // What it says beside the number is of no use to us, and may have no end.
    await answer.body?.cancel()
    return answer.ok ? undefined : `it answered ${answer.status}`
  } catch (error) {
    signal.throwIfAborted()
    if (late.signal.aborted) return `no answer within ${timeoutMs} ms`
    // The error's own text may hold the address.
    const { code } = ((error as { cause?: unknown }).cause ?? {}) as { code?: unknown }
    return `it cannot be reached${typeof code === 'string' ? ` (${code})` : ''}`
  } finally {
    cancel()
  }
}
