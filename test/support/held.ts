import { setFailpointHandler } from '../../src/core/failpoint.ts'
import { cleanup, type TestScope } from './cleanup.ts'

/** Whoever has come to a failpoint of this process, and waits there. */
export interface Held {
  /** Resolves when so many wait. */
  readonly reached: Promise<void>
  /** Lets them go on, and everybody who comes after them. */
  release(): void
}

/** Holds whatever passes a failpoint of this process, until so many have come and it is released. */
export function holdAt(t: TestScope, name: string, count = 1): Held {
  const reached = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  let waiting = 0
  setFailpointHandler((at) => {
    if (at !== name) return
    waiting += 1
    if (waiting === count) reached.resolve()
    return released.promise
  })
  const release = (): void => {
    setFailpointHandler(undefined)
    released.resolve()
  }
  cleanup(t, () => Promise.resolve(release()))
  return { reached: reached.promise, release }
}
