import assert from 'node:assert/strict'
import { mkdtemp, readFile, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import { isMillraceError } from 'millrace'
import { confirmation } from '../src/mail/confirmation.ts'
import { MailServer } from '../src/mail/mail-server.ts'
import { Mailbox } from '../src/mail/mailbox.ts'
import { smtpSender } from '../src/mail/smtp-sender.ts'

const args = {
  orderId: 'R1-000001',
  household: 'yogurt-1',
  placedAt: '2026-11-22T12:00:00.000Z',
  items: [{ itemId: 'yogurt-weight', priceCents: 790 }],
  totalCents: 790,
}
const running = new AbortController().signal

async function directory(t: TestContext): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'shop-mail-'))
  t.after(() => rm(made, { recursive: true }))
  return made
}

async function setup(t: TestContext) {
  const mailbox = new Mailbox(join(await directory(t), 'mailbox'))
  const server = new MailServer(mailbox)
  const port = await server.start()
  const sender = smtpSender(port)
  t.after(async () => {
    sender.close()
    await server.stop()
  })
  const read = async (): Promise<string[]> => {
    const names = await readdir(join(mailbox.directory, 'new'))
    return Promise.all(names.map((name) => readFile(join(mailbox.directory, 'new', name), 'utf8')))
  }
  return { mailbox, server, port, sender, read }
}

it('brings a confirmation into the mailbox over SMTP, as a file that people can read', async (t) => {
  const { sender, read } = await setup(t)
  await sender.send(confirmation(args, 'key-1'), { signal: running })
  const [mail, ...others] = await read()
  assert.deepEqual(others, [])
  assert.match(mail ?? '', /^Message-ID: <key-1@shop\.example>\r$/m)
  assert.match(mail ?? '', /^To: yogurt-1@households\.example\r$/m)
  assert.match(mail ?? '', /^Subject: Your order R1-000001\r$/m)
  assert.match(mail ?? '', /yogurt-weight +\$ +7\.90/)
})

it('stores a mail once that is sent twice with the same key', async (t) => {
  const { sender, mailbox, read } = await setup(t)
  const both = [confirmation(args, 'key-1'), confirmation(args, 'key-1')]
  await Promise.all(both.map((mail) => sender.send(mail, { signal: running })))
  await sender.send(confirmation(args, 'key-2'), { signal: running })
  assert.equal((await read()).length, 2)
  assert.deepEqual([mailbox.size, mailbox.stored, mailbox.known], [2, 2, 1])
})

it('knows the mails of earlier runs, also those that were read meanwhile', async (t) => {
  const place = await directory(t)
  const before = new Mailbox(place)
  await before.open()
  await before.store('<a@shop.example>', Buffer.from('a'))
  await before.store('<b@shop.example>', Buffer.from('b'))
  const [name = ''] = await readdir(join(place, 'new'))
  await rename(join(place, 'new', name), join(place, 'cur', `${name}:2,S`))
  const after = new Mailbox(place)
  await after.open()
  assert.equal(await after.store('<a@shop.example>', Buffer.from('a')), 'known')
  assert.equal(await after.store('<b@shop.example>', Buffer.from('b')), 'known')
  assert.equal(after.size, 2)
})

it('stores a mail once when two shops share the mailbox', async (t) => {
  const place = await directory(t)
  const boxes = [new Mailbox(place), new Mailbox(place)]
  for (const box of boxes) await box.open()
  const stored: string[] = []
  for (const box of boxes) stored.push(await box.store('<a@shop.example>', Buffer.from('a')))
  assert.deepEqual(stored, ['stored', 'known'])
})

it('keeps the newest mails when there are too many', async (t) => {
  const place = await directory(t)
  const old = new Mailbox(place)
  await old.open()
  await old.store('<oldest@shop.example>', Buffer.from('oldest'))
  const [name = ''] = await readdir(join(place, 'new'))
  await utimes(join(place, 'new', name), 1, 1)
  const mailbox = new Mailbox(place, { limit: 20 })
  await mailbox.open()
  for (let n = 0; n < 600; n += 1) {
    await mailbox.store(`<${n}@shop.example>`, Buffer.from(String(n)))
  }
  await mailbox.close()
  const kept = await readdir(join(place, 'new'))
  assert.equal(kept.length, mailbox.size)
  assert.ok(kept.length <= 520 && kept.length >= 20, String(kept.length))
  assert.ok(!kept.includes(name))
  assert.equal(await mailbox.store('<599@shop.example>', Buffer.from('599')), 'known')
})

it('removes what a killed process had not finished writing, and not what another is writing', async (t) => {
  const place = await directory(t)
  await new Mailbox(place).open()
  await writeFile(join(place, 'tmp', 'half.eml'), 'ha')
  await utimes(join(place, 'tmp', 'half.eml'), 1, 1)
  await writeFile(join(place, 'tmp', 'being-written.eml'), 'ha')
  await new Mailbox(place).open()
  assert.deepEqual(await readdir(join(place, 'tmp')), ['being-written.eml'])
})

it('gives a mail up at once that the server will never take', async (t) => {
  const { sender } = await setup(t)
  const tooLarge = { ...confirmation(args, 'key-1'), text: 'x'.repeat(2_000_000) }
  await assert.rejects(
    sender.send(tooLarge, { signal: running }),
    (error) => isMillraceError(error) && error.code === 'E_PERMANENT',
  )
})

it('tries again later when the server cannot be reached', async (t) => {
  const { sender, server } = await setup(t)
  await server.stop()
  await assert.rejects(
    sender.send(confirmation(args, 'key-1'), { signal: running }),
    (error) => !isMillraceError(error),
  )
})

it('stops sending when it is told to', async (t) => {
  const { sender, read } = await setup(t)
  const reason = new Error('stop')
  await assert.rejects(
    sender.send(confirmation(args, 'key-1'), { signal: AbortSignal.abort(reason) }),
    reason,
  )
  assert.deepEqual(await read(), [])
})

it('goes on when a client breaks off in the middle of a mail', async (t) => {
  const { sender, port, read } = await setup(t)
  const socket = connect(port, '127.0.0.1')
  const talk = ['', 'EHLO till', 'MAIL FROM:<a@b.example>', 'RCPT TO:<c@d.example>', 'DATA', 'Half']
  for await (const _answer of socket) {
    const line = talk.shift()
    if (line === 'Half') break
    if (line !== undefined && line !== '') socket.write(`${line}\r\n`)
    else if (line === '') socket.write(`${talk.shift() ?? ''}\r\n`)
  }
  socket.destroy()
  await sender.send(confirmation(args, 'key-1'), { signal: running })
  assert.equal((await read()).length, 1)
})
