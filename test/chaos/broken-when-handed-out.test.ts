import assert from 'node:assert/strict'
import { createServer, type AddressInfo } from 'node:net'
import test from 'node:test'
import { createCore } from '../../src/core/core.ts'
import { createPool } from '../../src/postgres/connect.ts'
import { transaction } from '../../src/postgres/transaction.ts'

/** A message of the server: its type, and what it says. */
function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const AUTHENTICATED = message('R', Buffer.alloc(4))
const READY = message('Z', Buffer.from('I'))
const TERMINATED = message('E', Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0'))

test('outlives a connection that is ended at the moment it is handed out', async (t) => {
  // What a process finds in its socket that was stopped while the server ended the connection.
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(Buffer.concat([AUTHENTICATED, READY, TERMINATED])))
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => {
    server.once('listening', resolve)
  })
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const pool = createPool(`postgres://nobody@127.0.0.1:${port}/nothing`)
  pool.on('error', () => {})
  t.after(() => pool.end())

  const attempt = transaction(pool, createCore(), async (tx) => tx.query('select 1'))
  await assert.rejects(attempt, /terminat|not queryable/)
})
