import { safeLine, safeLines } from './safe-text.ts'

/** What is said of one thing: a name and its value; several lines are set below the name. `null` is left out. */
export type Fact = readonly [name: string, value: string | number | bigint | null | undefined]

/** Facts as lines, their values below each other, everything neutralized. */
export function formatFacts(facts: readonly Fact[]): string {
  const shown = facts
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => [safeLine(name), value] as const)
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return shown
    .map(([name, value]) => {
      const text = String(value)
      if (!text.includes('\n')) return `${name.padEnd(width)}  ${safeLine(text)}`
      return `${name}\n${safeLines(text).replace(/^/gm, '  ')}`
    })
    .join('\n')
}
