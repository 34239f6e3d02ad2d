import type { StandardSchemaV1 } from '@standard-schema/spec'
import { MillraceError } from '../errors/millrace-error.ts'
import { describeIssues, listProblems } from '../errors/schema-issues.ts'

/** Longest args as JSON, in UTF-16 code units: 1 Mi. Larger things belong in a table of their own; args point to them. */
export const MAX_ARGS_LENGTH = 1_048_576

/**
 * `args` as the JSON that is stored, after a look at what will come back out of it: the text is parsed again and
 * validated, so that what JSON loses (a `Date`, `undefined`, a `Map`) is found here and not when the job is executed.
 * @throws E_EVENT_INVALID when they are not JSON, or do not match the schema.
 * @throws E_EVENT_TOO_LARGE
 */
export function encodeArgs(kind: string, schema: StandardSchemaV1, args: unknown): string {
  let text: string | undefined
  try {
    text = JSON.stringify(args)
  } catch (error) {
    throw new MillraceError(
      'E_EVENT_INVALID',
      `args of job '${kind}' cannot be written as JSON: ${error instanceof Error ? error.message : String(error)}`,
      { details: { kind }, cause: error },
    )
  }
  if (text === undefined) {
    throw new MillraceError(
      'E_EVENT_INVALID',
      `args of job '${kind}': expected a JSON value, got ${typeof args}`,
      { details: { kind } },
    )
  }
  if (text.length > MAX_ARGS_LENGTH) {
    throw new MillraceError(
      'E_EVENT_TOO_LARGE',
      `args of job '${kind}' are ${text.length} characters of JSON; at most ${MAX_ARGS_LENGTH} are allowed`,
      { details: { kind, length: text.length } },
    )
  }
  decodeArgs(kind, schema, text)
  return text
}

/**
 * Stored args as the handler gets them: parsed and validated by the schema of the code that runs now.
 * @throws E_EVENT_INVALID when they do not match it.
 */
export function decodeArgs<Output>(
  kind: string,
  schema: StandardSchemaV1<unknown, Output>,
  text: string,
): Output {
  const args: unknown = JSON.parse(text)
  const result = schema['~standard'].validate(args)
  if (result instanceof Promise) {
    // Nobody will look at its outcome.
    result.catch(() => {})
    throw new MillraceError(
      'E_EVENT_INVALID',
      `the schema of job '${kind}' validates asynchronously: args need one that validates at once`,
      { details: { kind } },
    )
  }
  if (result.issues !== undefined) throw invalidArgs(kind, result.issues, args)
  return result.value
}

function invalidArgs(
  kind: string,
  issues: readonly StandardSchemaV1.Issue[],
  args: unknown,
): MillraceError {
  const problems = describeIssues(issues, args, 'args')
  return new MillraceError(
    'E_EVENT_INVALID',
    `args of job '${kind}' do not match its schema:\n${listProblems(problems, issues.length)}`,
    { details: { kind, problems } },
  )
}
