import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { KafkaToolProblem } from './problem.ts'
import { runProgram } from './programs.ts'

/** What a client passes to `tls.connect`. */
export interface ClientTls {
  /** The authority's certificate, PEM. */
  readonly ca: string
  /** A client's certificate by that authority and its key, PEM. */
  readonly cert: string
  readonly key: string
}

/** Makes an authority, a certificate for 127.0.0.1 and localhost, and one for a client; valid for two days. */
export async function makeCertificates(directory: string): Promise<ClientTls> {
  const at = (name: string): string => join(directory, name)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const authority = ['-subj', '/CN=millrace test authority', '-days', '2']
  await openssl('req', '-x509', ...key, ...authority, '-keyout', at('ca.key'), '-out', at('ca.pem'))
  const names = 'subjectAltName=IP:127.0.0.1,DNS:localhost'
  for (const [name, extension] of [
    ['server', names],
    ['client', 'extendedKeyUsage=clientAuth'],
  ] as const) {
    writeFileSync(at(`${name}.ext`), `${extension}\n`)
    const subject = ['-subj', `/CN=millrace-${name}`]
    await openssl(
      'req',
      '-new',
      ...key,
      ...subject,
      '-keyout',
      at(`${name}.key`),
      '-out',
      at('csr'),
    )
    const signer = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2']
    const files = ['-in', at('csr'), '-extfile', at(`${name}.ext`), '-out', at(`${name}.pem`)]
    await openssl('x509', '-req', ...signer, ...files)
  }
  const text = (name: string): string => readFileSync(at(name), 'utf8')
  writeFileSync(at('server-all.pem'), text('server.key') + text('server.pem'), { mode: 0o600 })
  return { ca: text('ca.pem'), cert: text('client.pem'), key: text('client.key') }
}

async function openssl(...args: readonly string[]): Promise<void> {
  const { code, output } = await runProgram('openssl', args)
  if (code === 0) return
  throw new KafkaToolProblem(
    `openssl ${args[0] ?? ''} failed (${code}); a broker with TLS needs openssl on the PATH. Its last words:\n${output.slice(-1_000)}`,
  )
}
