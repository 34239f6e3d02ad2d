/** Where in some data something is: names of properties and places in arrays, outermost first. */
export type DataPath = readonly PropertyKey[]

const SEGMENT_LIMIT = 64
const SEGMENTS_SHOWN = 12

/** `path` from `root` for people, bounded in length and with nothing in it that a terminal would obey: `data.items[3].name`. */
export function showPath(path: DataPath, root = 'data'): string {
  let text = root
  for (const segment of path.slice(0, SEGMENTS_SHOWN)) {
    if (typeof segment === 'number') {
      text += `[${segment}]`
      continue
    }
    const name = typeof segment === 'symbol' ? String(segment) : segment
    const cut = name.length > SEGMENT_LIMIT ? `${name.slice(0, SEGMENT_LIMIT)}…` : name
    text += /^[\w$…-]+$/.test(cut) ? `.${cut}` : `[${showText(cut)}]`
  }
  return path.length > SEGMENTS_SHOWN ? `${text}…` : text
}

/** `text` in quotes, with control, format and lone surrogate characters escaped. */
export function showText(text: string): string {
  return JSON.stringify(text.toWellFormed()).replace(
    /[\p{C}\u2028\u2029]/gu,
    (character) => `\\u{${(character.codePointAt(0) as number).toString(16)}}`,
  )
}
