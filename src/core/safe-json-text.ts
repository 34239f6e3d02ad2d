/** Control, format, private-use and unassigned characters, lone surrogates, line and paragraph separators. */
const HOSTILE = /[\p{C}\p{Zl}\p{Zp}]/gu

/**
 * `json`, a JSON text, as the same JSON that does nothing to a terminal: what `JSON.stringify` leaves as it is and a
 * terminal would act on, hide or reorder is written as `\uXXXX`.
 */
export function safeJsonText(json: string): string {
  // Line breaks come from the indentation; inside strings they are escaped already.
  return json.replace(HOSTILE, (character) =>
    character === '\n'
      ? character
      : Array.from(
          { length: character.length },
          (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`,
        ).join(''),
  )
}
