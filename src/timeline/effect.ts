import { storableText } from '../core/storable-text.ts'

/** Most effects that are kept of one attempt, or of one record for one handler; the last one kept says how many came after. */
export const MAX_EFFECTS = 100
/** Longest name, in characters. */
export const MAX_NAME_LENGTH = 200
/** Largest details, in bytes of JSON. */
export const MAX_DETAILS_BYTES = 4_096

/** Something that a handler says it did, ready to be written. */
export interface DeclaredEffect {
  readonly name: string
  /** As JSON text; `null`: none. */
  readonly detailsJson: string | null
  readonly at: Date
  /** How many it stands for, if it is the last one kept and there were others after it. */
  readonly standsFor?: number
}

/**
 * Says that something was done: `effect('email.sent', { provider, messageId })`. Shown by `millrace trace`, and kept as long
 * as finished jobs are. Not for what is published or inserted: that is found by itself.
 *
 * Never throws, for it is called when the thing has been done. A name longer than 200 characters is cut; details that are
 * no JSON, or have more than 4,096 bytes as JSON, are replaced by a note that says so; of one attempt 100 are kept. What
 * identifies people does not belong in the details.
 */
export type DeclareEffect = (name: string, details?: unknown) => void

/** Adds an effect to `effects`, within the bounds. Never throws. */
export function addEffect(
  effects: DeclaredEffect[],
  at: Date,
  name: unknown,
  details: unknown,
): void {
  if (effects.length < MAX_EFFECTS) {
    effects.push({ name: effectName(name), detailsJson: jsonOf(details), at })
    return
  }
  const last = effects[MAX_EFFECTS - 1] as DeclaredEffect
  const n = (last.standsFor ?? 1) + 1
  effects[MAX_EFFECTS - 1] = { name: MORE, detailsJson: JSON.stringify({ n }), at, standsFor: n }
}

/** Name of what stands for the effects beyond the bound; its details say how many. */
const MORE = '(more)'

/** An effect's name as it is kept, whatever was given. Never throws. */
export function effectName(name: unknown): string {
  let text: string
  try {
    text = String(name)
  } catch {
    // Users of JavaScript give anything; the effect counts, with a name or without.
    text = '(a name that cannot be read)'
  }
  return storableText(text.slice(0, MAX_NAME_LENGTH))
}

function jsonOf(details: unknown): string | null {
  if (details === undefined) return null
  let json: string | undefined
  try {
    json = JSON.stringify(details)
  } catch {
    // As with a circle or a bigint in it: the effect is worth more than its details.
  }
  if (json === undefined) return note('the details cannot be written as JSON')
  const bytes = Buffer.byteLength(json)
  if (bytes <= MAX_DETAILS_BYTES) return json
  return note(`the details have ${bytes} bytes, and at most ${MAX_DETAILS_BYTES} are kept`)
}

function note(text: string): string {
  return JSON.stringify({ note: text })
}
