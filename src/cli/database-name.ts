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
