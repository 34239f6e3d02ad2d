const URL_PASSWORD = /([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s/"]*@/gi
const PARAMETER = /\b(password|pgpassword|passwd|secret|token)=([^\s&'"]+|'[^']*'|"[^"]*")/gi

/** `text` without the passwords of the connection strings in it. */
export function redact(text: string): string {
  return text.replace(URL_PASSWORD, '$1:***@').replace(PARAMETER, '$1=***')
}

/** Where a database URL leads, for people: `shop@db1`, never with user or password. */
export function databaseName(url: string): string {
  try {
    const { hostname, pathname, port, searchParams } = new URL(url)
    const database = decodeURIComponent(pathname.slice(1)) || 'postgres'
    const host = hostname || searchParams.get('host') || 'localhost'
    return `${database}@${host}${port === '' || port === '5432' ? '' : `:${port}`}`
  } catch {
    // Not a URL: nothing of it is shown, for nobody can say where in it the password is.
    return 'unreadable address'
  }
}
