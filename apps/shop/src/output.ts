import type { Figures } from './figures.ts'

/** Where the figures go: a live summary, or lines of JSON. */
export interface Output {
  /** Takes the figures of this second; `last`: there will be no others. */
  show(figures: Figures, last?: boolean): void
  /** Says a sentence on stderr, without harm to what is on the screen. */
  talk(line: string): void
  /** What the shop is doing, such as `starting`; undefined: its work. */
  phase(text: string | undefined): void
  /** Leaves the screen as it should be left. Safe to call twice. */
  close(): void
}
