import { fileURLToPath } from 'node:url'
import type { ErrorDescription } from '../errors/describe.ts'

const AT = '\n    at '
const FRAME_LIMIT = 400
const DRIVE = /^[A-Za-z]:\//
const ENDING = /\.[cm]?[jt]sx?(?=[:?]|$)|:\d/
/** `chunk-4KD82JQX` */
const BUNDLE_HASH = /[-.](?=\w*\d)\w{8,}$/
/** Our own source, wherever it is installed or linked. */
const OURS = slashed(fileURLToPath(new URL('..', import.meta.url)))
/** Where the application was started: what is above differs from one deploy to the next. */
const HERE = `${slashed(workingDirectory()).replace(/\/$/, '')}/`

/**
 * The topmost `most` frames of a stack that are the application's own, as `handlers/bill charge`: the last two parts of
 * the path below the working directory without the file's ending, and the function. Node's, millrace's and packages' frames
 * are not the application's.
 */
export function framesOf(
  { stack, message }: Pick<ErrorDescription, 'stack' | 'message'>,
  most: number,
): string[] {
  const frames: string[] = []
  if (stack === undefined) return frames
  // A message of several lines may look like frames.
  const told = message === '' ? -1 : stack.indexOf(message)
  let at = stack.indexOf(AT, told < 0 ? 0 : told + message.length)
  while (at >= 0 && frames.length < most) {
    const from = at + AT.length
    const end = stack.indexOf('\n', from)
    const frame = frameOf(
      stack.slice(from, Math.min(end < 0 ? stack.length : end, from + FRAME_LIMIT)),
    )
    if (frame !== undefined) frames.push(frame)
    at = end < 0 ? -1 : stack.indexOf(AT, end)
  }
  return frames
}

function frameOf(line: string): string | undefined {
  // `name (place)`, or the place alone. A place inside of evaluated code is none.
  const open = line.endsWith(')') ? line.indexOf(' (') : -1
  const place = open < 0 ? line : line.slice(open + 2, -1)
  const path = pathOf(place)
  if (path === undefined) return undefined
  const name = open < 0 ? '' : line.slice(0, open)
  return `${path} ${nameOf(name)}`.trimEnd()
}

function nameOf(name: string): string {
  const bare = name.startsWith('async ') ? name.slice('async '.length) : name
  const alias = bare.indexOf(' [as ')
  return alias < 0 ? bare : bare.slice(0, alias)
}

function pathOf(place: string): string | undefined {
  let whole = slashed(place.startsWith('async ') ? place.slice('async '.length) : place)
  if (whole.startsWith('file:///')) whole = whole.slice('file://'.length)
  if (!whole.startsWith('/') && !DRIVE.test(whole)) return undefined
  if (whole.startsWith(OURS) || whole.includes('/node_modules/')) return undefined
  const below = whole.startsWith(HERE) ? whole.slice(HERE.length) : whole
  const last = below.lastIndexOf('/')
  const directory = below.slice(below.lastIndexOf('/', last - 1) + 1, last + 1)
  const file = below.slice(last + 1)
  // Without the ending, for the same code runs as TypeScript here and built there, and whatever stands behind it.
  const ending = ENDING.exec(file)
  const name = ending === null ? file : file.slice(0, ending.index)
  const path = directory + name
  return /\d/.test(path) ? path.replace(BUNDLE_HASH, '').replace(/\d{2,}/g, '#') : path
}

function slashed(path: string): string {
  return path.includes('\\') ? path.replaceAll('\\', '/') : path
}

function workingDirectory(): string {
  try {
    return process.cwd()
  } catch {
    // It was deleted under us; then paths are known by their last two parts alone.
    return '\u0000'
  }
}
