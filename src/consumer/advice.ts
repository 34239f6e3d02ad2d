import type { Pause } from '../control/pauses.ts'
import type { GapCode } from './gaps.ts'
import { resumeCommand } from './pause-consumers.ts'

/** What of a position decides what an operator should do about it. */
export interface Advised {
  readonly application: string
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly state: 'halted' | 'paused' | 'unowned' | 'waiting' | 'reading'
  readonly code: GapCode | null
  readonly pause: Pause | null
}

/**
 * The command to try next; null: nothing needs to be done, or nobody can say just now.
 * @param topicNow id of the topic that has the name now; undefined: there is none; null: the log does not answer.
 */
export function adviceFor(position: Advised, topicNow: string | undefined | null): string | null {
  const { application, topic, topicId, partition, state, code, pause } = position
  const whole = `--app ${application} --topic ${topic}`
  const one = `${whole} --partition ${partition}`
  switch (state) {
    case 'reading':
    case 'waiting':
      return null
    case 'unowned':
      return `millrace start --consumers ${application}`
    case 'paused':
      return pause === null ? null : resumeCommand(pause)
    case 'halted':
      break
  }
  // Whatever the log is now: that is looked at before anything is read.
  if (code === 'flood') return `millrace consumers resume ${one}`
  if (topicNow === null) return null
  if (topicNow === undefined) return `millrace consumers resolve accept ${one} --dry-run`
  if (topicNow !== topicId)
    return `millrace consumers resolve adopt ${whole} --from beginning --dry-run`
  // Where the log was rewritten, reading again from where it is still the same loses nothing.
  const decision = code === 'behind-end' || code === 'diverged' ? 'rewind' : 'accept'
  return `millrace consumers resolve ${decision} ${one} --dry-run`
}
