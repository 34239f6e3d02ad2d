/** How much of a message is looked at, and how much of what is left counts, in UTF-16 code units. */
const LOOKED_AT = 1_000
const KEPT = 240

/** The engine's own words: the name of the property is one of the code, and tells the causes apart. */
const PROPERTY = /\((?:reading|setting) '[^']*'\)/
const QUOTED =
  /"(?:[^"\\]|\\.)*(?:"|$)|`[^`]*(?:`|$)|(?<![\w)\]])'(?:[^'\\]|\\.|(?<=\w)'(?=\w))*(?:'(?!\w)|$)|[“„«][^”“»]*(?:[”“»]|$)/g
const TIME =
  /\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?/g
const URL = /(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*:\/\/[^\s<>]*/gi
const EMAIL = /(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*/g
const PATH = /(?<![\w.@%+~-])(?:[A-Za-z]:)?[\w.@%+~-]*(?:[\\/][\w.@%+~-]+)+[\\/]?/g
/**
 * UUIDs, ULIDs, at least eight hexadecimal digits, numbers: one placeholder for all, for an id of digits only is no other
 * cause than the next, which has a letter. Digits within a word are taken out where there are two of them.
 */
const ID =
  /(?<![a-z0-9])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-7][0-9a-hjkmnp-tv-z]{25}|0x[0-9a-f]+)(?![a-z0-9])|(?<!\w)[-+]?\d+(?:[.,:]\d+)*(?:e[+-]?\d+)?(?![a-z0-9])|(?<![a-z0-9])[0-9a-f]{8,}(?![a-z0-9])|(?<!\w)[-+]?\d+(?:[.,:]\d+)*|\d{2,}/gi
/** However many there are of a list. */
const LIST = /(#|<\w+>)(?:,? ?(?:(?:and|or) )?\1)+/g
const MAYBE_HEX = /\d|[0-9a-f]{8}/i

/**
 * `message` without what differs from one failure to the next of the same cause: quoted text, times, URLs, e-mail addresses,
 * paths, ids and numbers become placeholders, and runs of white space one space. Looks at the first 1,000 characters.
 */
export function normalizeMessage(message: string): string {
  let text = message
  if (text.length > LOOKED_AT) {
    // Not through the middle of an id, half of which would be none.
    const cut = text.lastIndexOf(' ', LOOKED_AT)
    text = text.slice(0, cut > LOOKED_AT / 2 ? cut : LOOKED_AT)
  }
  if (/["'`“„«]/.test(text)) text = withoutQuoted(text)
  if (text.includes('://')) text = text.replace(URL, '<url>')
  if (text.includes('@')) text = text.replace(EMAIL, '<email>')
  if (/\d-\d/.test(text)) text = text.replace(TIME, '<time>')
  if (/[\\/]/.test(text)) text = text.replace(PATH, '<path>')
  if (MAYBE_HEX.test(text)) text = text.replace(ID, '#')
  text = text.replace(/\s+/g, ' ')
  if (/[#>]\W/.test(text)) text = text.replace(LIST, '$1')
  return text.slice(0, KEPT).trim()
}

function withoutQuoted(text: string): string {
  const property = PROPERTY.exec(text)
  if (property === null) return text.replace(QUOTED, '<text>')
  const end = property.index + property[0].length
  const before = text.slice(0, property.index).replace(QUOTED, '<text>')
  const name = property[0].slice(1, -1).replaceAll("'", '')
  return `${before}(${name})${text.slice(end).replace(QUOTED, '<text>')}`
}
