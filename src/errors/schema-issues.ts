import type { StandardSchemaV1 } from '@standard-schema/spec'
import { showPath } from './show-path.ts'

const ISSUES_SHOWN = 10
const MESSAGE_LIMIT = 200
const KIND_LIMIT = 80

/** What does not match, and where. */
export interface DataProblem {
  /** `data.items[3].name`; begins with `root`. */
  readonly path: string
  readonly message: string
  /** What kind of complaint it is, where the schema's library says so: `invalid_type:string`. */
  readonly kind?: string
}

/**
 * A schema's complaints as paths and sentences, at most 10. Some libraries quote the value they refuse; where the value at
 * an issue's path is a string, number or boolean, its text is replaced by its type. Messages are cut at 200 characters.
 */
export function describeIssues(
  issues: readonly StandardSchemaV1.Issue[],
  data: unknown,
  root = 'data',
): DataProblem[] {
  return issues.slice(0, ISSUES_SHOWN).map((issue) => {
    const path = (issue.path ?? []).map((segment) =>
      typeof segment === 'object' ? segment.key : segment,
    )
    const message = withoutValue(issue.message, valueAt(data, path))
    const kind = kindOf(issue)
    return { path: showPath(path, root), message, ...(kind === undefined ? {} : { kind }) }
  })
}

/**
 * What zod, valibot and arktype say beside the message, in words of the schema and never of the data: `code` or `type`,
 * and what was expected. `undefined` where there is nothing of the kind.
 */
export function kindOf(issue: object): string | undefined {
  const word = (name: string): string | undefined => {
    const value = (issue as Readonly<Record<string, unknown>>)[name]
    return typeof value === 'string' && value !== '' && value.length <= KIND_LIMIT
      ? value
      : undefined
  }
  const code = word('code') ?? word('type')
  if (code === undefined) return undefined
  const expected = word('expected') ?? word('format')
  return expected === undefined || expected === code ? code : `${code}:${expected}`
}

/** The problems as lines of an error's text; `total` is how many there were before the cut. */
export function listProblems(problems: readonly DataProblem[], total: number): string {
  const lines = problems.map(({ path, message }) => `  - ${path}: ${message}`)
  if (total > problems.length) lines.push(`  - and ${total - problems.length} more`)
  return lines.join('\n')
}

function valueAt(data: unknown, path: readonly PropertyKey[]): unknown {
  let value = data
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Readonly<Record<PropertyKey, unknown>>)[key]
  }
  return value
}

function withoutValue(message: string, value: unknown): string {
  let shown = message
  if (typeof value === 'string' && value !== '') {
    shown = shown
      .replaceAll(JSON.stringify(value), '<string>')
      .replaceAll(`"${value}"`, '<string>')
      .replaceAll(`'${value}'`, '<string>')
    // A bare short string could be part of any word.
    if (value.length > 3) shown = shown.replaceAll(value, '<string>')
  } else if (typeof value === 'number' || typeof value === 'boolean') {
    const text = String(value).replaceAll(/[.+-]/g, '\\$&')
    shown = shown.replaceAll(
      new RegExp(`(?<![\\w.-])${text}(?![\\w.-]*\\w)`, 'g'),
      `<${typeof value}>`,
    )
  }
  shown = shown.toWellFormed().replaceAll(/\p{C}/gu, '\uFFFD')
  return shown.length > MESSAGE_LIMIT ? `${shown.slice(0, MESSAGE_LIMIT)}…` : shown
}
