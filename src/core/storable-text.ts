/** `text` as PostgreSQL can hold it: NUL, which it refuses, is shown escaped, and half a surrogate pair is replaced. */
export function storableText(text: string): string {
  return text.toWellFormed().replaceAll('\u0000', '\\u0000')
}
