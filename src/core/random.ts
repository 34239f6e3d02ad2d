import { randomBytes } from 'node:crypto'

/** The only source of chance. A seeded one makes a run repeatable. */
export interface Random {
  /** A number in [0, 1). */
  next(): number
  /** `length` bytes. */
  bytes(length: number): Uint8Array
}

/** Chance from the operating system for bytes, from the runtime for numbers. */
export const systemRandom: Random = {
  next: () => Math.random(),
  bytes: (length) => randomBytes(length),
}

/**
 * A repeatable source of chance, for tests and simulations; not for secrets.
 * Algorithm: mulberry32 (Tommy Ettinger, public domain).
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  return {
    next,
    bytes: (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256)),
  }
}
