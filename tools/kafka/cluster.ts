import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { startGuardian, type Guardian } from './guardian.ts'
import { archiveFlags } from './class-archive.ts'
import type { KafkaInstall } from './install.ts'
import { Node, type KafkaNode } from './node.ts'
import type { KafkaOptions } from './options.ts'
import { KafkaToolProblem } from './problem.ts'
import { runProgram } from './programs.ts'
import { formatArguments, serverProperties, type Ports } from './properties.ts'
import { makeCertificates, type ClientTls } from './tls.ts'

/** How often free ports are drawn anew when somebody else was quicker. */
const portAttempts = 5
/** For a short life. */
export const quickStart: readonly string[] = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
const logging = [`-Dlog4j2.configurationFile=${join(import.meta.dirname, 'log4j2.properties')}`]

/** A Kafka cluster of this process. */
export interface Kafka extends AsyncDisposable {
  /** What clients are given: `127.0.0.1:PORT` of each broker (the advertised port). */
  readonly brokers: readonly string[]
  readonly nodes: readonly KafkaNode[]
  readonly directory: string
  readonly version: string
  /** For a client's `tls.connect`; undefined without TLS. */
  readonly tls: ClientTls | undefined
  /** Stops all brokers; removes the folder unless `persistent`. Safe to call twice. */
  stop(): Promise<void>
}

/** Starts the cluster with this Kafka; see `startKafka`. */
export async function startCluster(install: KafkaInstall, options: KafkaOptions): Promise<Kafka> {
  const directory =
    options.directory === undefined
      ? mkdtempSync(join(tmpdir(), 'millrace-kafka-'))
      : resolve(options.directory)
  const persistent = options.persistent ?? options.directory !== undefined
  mkdirSync(directory, { recursive: true })
  const guardian = startGuardian(persistent ? undefined : directory)
  const end = async (nodes: readonly Node[]): Promise<void> => {
    // What is removed next needs no order.
    await Promise.all(nodes.map(async (node) => (persistent ? node.stop() : node.kill9())))
    if (!persistent) rmSync(directory, { recursive: true, force: true })
    guardian.dismiss()
  }
  try {
    const tls = options.tls ? await makeTls(directory) : undefined
    const { nodes, brokers } = await startNodes(directory, options, install, guardian)
    let stopping: Promise<void> | undefined
    const stop = async (): Promise<void> => (stopping ??= end(nodes))
    return {
      brokers,
      nodes,
      directory,
      version: install.version,
      tls,
      stop,
      [Symbol.asyncDispose]: stop,
    }
  } catch (error) {
    await end([])
    throw error
  }
}

async function makeTls(directory: string): Promise<ClientTls> {
  const at = join(directory, 'tls')
  mkdirSync(at, { recursive: true })
  return makeCertificates(at)
}

async function startNodes(
  directory: string,
  options: KafkaOptions,
  install: KafkaInstall,
  guardian: Guardian,
): Promise<{ readonly nodes: readonly Node[]; readonly brokers: readonly string[] }> {
  for (let attempt = 1; ; attempt += 1) {
    const ports = await drawPorts(options)
    const nodes = makeNodes(directory, ports, options, install, guardian)
    try {
      await Promise.all(
        nodes.map(async ({ logDirectory }, index) => {
          mkdirSync(logDirectory, { recursive: true })
          const place = {
            id: index + 1,
            directory: logDirectory,
            tlsDirectory: join(directory, 'tls'),
          }
          writeFileSync(
            join(logDirectory, 'server.properties'),
            serverProperties(place, ports, options),
            { mode: 0o600 },
          )
          writeFileSync(join(logDirectory, 'server.log'), '')
        }),
      )
      await format(directory, nodes, options, install)
      options.signal?.throwIfAborted()
      for (const node of nodes) node.launch()
      await Promise.all(nodes.map(async (node) => node.ready(nodes.length, options.signal)))
      return { nodes, brokers: ports.map(({ advertised }) => `127.0.0.1:${advertised}`) }
    } catch (error) {
      await Promise.all(nodes.map(async (node) => node.kill9()))
      const taken =
        error instanceof Error && /Address already in use|BindException/.test(error.message)
      if (!taken || options.port !== undefined || attempt === portAttempts) throw error
    }
  }
}

function makeNodes(
  directory: string,
  ports: readonly Ports[],
  options: KafkaOptions,
  install: KafkaInstall,
  guardian: Guardian,
): readonly Node[] {
  const { heapMb = 384, jvm = quickStart } = options
  const nodes: Node[] = ports.map(
    ({ client, internal }, index) =>
      new Node({
        id: index + 1,
        directory: join(directory, `broker-${index + 1}`),
        port: client,
        internalPort: internal,
        install,
        jvm: [`-Xmx${heapMb}m`, ...archiveFlags(install), ...jvm, ...logging],
        onProcess: () => guardian.watch(nodes.flatMap(({ pid }) => pid ?? [])),
        onNotice: options.onNotice ?? ((line) => console.error(line)),
        onEnd: options.onEnd ?? (() => {}),
      }),
  )
  return nodes
}

/** Gives every broker without data of its own the cluster's id, and the cluster its SCRAM users. */
async function format(
  directory: string,
  nodes: readonly Node[],
  options: KafkaOptions,
  install: KafkaInstall,
): Promise<void> {
  const known = nodes.map((node) => clusterIdOf(node))
  const clusterId = known.find((id) => id !== undefined) ?? newClusterId()
  const formatted = nodes.map(async ({ logDirectory }, index) => {
    if (known[index] !== undefined) return
    const flags = ['format', '-t', clusterId, '-c', join(logDirectory, 'server.properties')]
    const tool = ['-cp', install.classPath, 'kafka.tools.StorageTool', ...flags]
    const args = [
      ...archiveFlags(install),
      ...quickStart,
      ...logging,
      ...tool,
      ...formatArguments(options),
    ]
    const { code, output } = await runProgram(install.java, args, options)
    options.signal?.throwIfAborted()
    if (code === 0) return
    throw new KafkaToolProblem(
      `Kafka could not format its storage in ${directory} (${code}):\n${output.slice(-2_000)}`,
    )
  })
  await Promise.all(formatted)
}

/** Formatting writes this file last. */
function clusterIdOf({ logDirectory }: Node): string | undefined {
  const file = join(logDirectory, 'data', 'meta.properties')
  if (!existsSync(file)) return undefined
  return /^cluster\.id=(.+)$/m.exec(readFileSync(file, 'utf8'))?.[1]
}

function newClusterId(): string {
  const bytes = randomBytes(16)
  // Kafka's tools would take a leading dash for a flag.
  bytes.writeUInt8(bytes.readUInt8(0) & 0x7f, 0)
  return bytes.toString('base64url')
}

async function drawPorts(options: KafkaOptions): Promise<Ports[]> {
  const count = options.brokers ?? 1
  const free = await freePorts(count * 3)
  const at = (index: number): number => free[index] as number
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const client = index === 0 && options.port !== undefined ? options.port : at(index * 3)
      const advertised = (await options.advertise?.(client, index)) ?? client
      return { client, internal: at(index * 3 + 1), controller: at(index * 3 + 2), advertised }
    }),
  )
}

/** Ports that nobody has right now; held all together, so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map(async (server) => once(server, 'listening')))
  return Promise.all(
    servers.map(async (server) => {
      const address = server.address()
      server.close()
      await once(server, 'close')
      if (address === null || typeof address === 'string') throw new TypeError('no port was given')
      return address.port
    }),
  )
}
