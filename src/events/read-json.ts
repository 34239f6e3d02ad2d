import { showPath, type DataPath } from '../errors/show-path.ts'
import { describeSyntaxError, findUnstorableText, isDeeperThan } from './json-text.ts'
import type { DataLimits } from './limits.ts'
import { readUtf8 } from './read-envelope.ts'

/** What the bytes of a value turned out to be. */
export type JsonReading =
  | { readonly data: unknown }
  | { readonly problem: string; readonly tooLarge: boolean }

/** Parses a value, or says why it is no data that could go anywhere. Never throws, whatever the bytes. */
export function readJson(value: Uint8Array, limits: Required<DataLimits>): JsonReading {
  const { maxValueBytes, maxDepth } = limits
  if (value.length > maxValueBytes) {
    return {
      problem: `its value has ${value.length} bytes, and at most ${maxValueBytes} are read`,
      tooLarge: true,
    }
  }
  if (value.length === 0) return unreadable('its value is empty, where JSON was expected')
  if (isDeeperThan(value, maxDepth)) {
    return {
      problem: `its data is nested deeper than the ${maxDepth} levels that are read`,
      tooLarge: true,
    }
  }
  const text = readUtf8(value)
  if (text === undefined) return unreadable('its value is not UTF-8')
  let data: unknown
  try {
    data = JSON.parse(text)
  } catch (error) {
    return unreadable(`its value is not JSON: ${describeSyntaxError(error, text)}`)
  }
  const found: DataPath | undefined = findUnstorableText(text, data)
  return found === undefined
    ? { data }
    : unreadable(`${showPath(found)} has U+0000 or a lone surrogate in its text`)
}

function unreadable(problem: string): JsonReading {
  return { problem, tooLarge: false }
}
