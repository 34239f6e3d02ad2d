/**
 * `scheme://user:password@`. The password ends at the last `@`, for it may hold some itself, and whatever else people
 * forget to escape. What stands before it may be an e-mail address. Digits that end where a port ends are one.
 */
const URL_PASSWORD =
  /([a-z][a-z0-9+.-]*:\/\/(?!\[)[^\s:/"]*):(?!\d+(?:[\s/?#"',;)\]}]|$))(?:[^\s"]*|[^\s@]*)@/gi
const PARAMETER = /\b(\w*(?:password|passwd|secret|token))=([^\s&'"]+|'[^']*'|"[^"]*")/gi

/** `text` with `***` for the passwords of the URLs and connection strings in it. */
export function redact(text: string): string {
  return text.replace(URL_PASSWORD, '$1:***@').replace(PARAMETER, '$1=***')
}
