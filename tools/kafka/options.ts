/** How clients prove who they are, on the listener for clients. */
export interface SaslOptions {
  readonly mechanisms: readonly SaslMechanism[]
  /**
   * Names and passwords, for PLAIN and SCRAM; without quotes, backslashes, commas. OAUTHBEARER takes any unsecured JWT
   * (`alg: none`) that has not expired.
   */
  readonly users?: Readonly<Record<string, string>>
}

export type SaslMechanism = 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512' | 'OAUTHBEARER'

/** Options of `startKafka`. */
export interface KafkaOptions {
  /** Number of brokers, each of them also a controller. With three, one may die. Default 1. */
  readonly brokers?: 1 | 3
  /** Folder of the data and logs. Default: a fresh one in the system's folder for temporary files. */
  readonly directory?: string
  /** Whether the folder stays when the cluster is stopped. Default: true when a `directory` is given, else false. */
  readonly persistent?: boolean
  /** Port for clients on 127.0.0.1, of the first broker. Default: any free one; a restart keeps it. */
  readonly port?: number
  /** Settings as in server.properties, on top of ours. */
  readonly properties?: Readonly<Record<string, string | number | boolean>>
  /**
   * Gives the port that clients are told instead of the real one, for a proxy in between. Asked before the broker
   * starts, which may take some seconds to listen. `index` counts the brokers from 0.
   */
  readonly advertise?: (port: number, index: number) => number | Promise<number>
  /** Clients must log in. Default: no. */
  readonly sasl?: SaslOptions
  /** Clients must use TLS, with a certificate of an authority made for the occasion; `mutual`: and show one. */
  readonly tls?: boolean | { readonly mutual: boolean }
  /** Largest heap of each Java process, MiB. Default 384. */
  readonly heapMb?: number
  /** More flags for Java. Default: those for a quick start; an empty list for benchmarks. */
  readonly jvm?: readonly string[]
  /** Told, in a line, what takes time or went wrong by itself. Default: stderr. */
  readonly onNotice?: (line: string) => void
  /** Called when a broker has ended although nobody asked it to. */
  readonly onEnd?: () => void
  /** Ends the start early; no effect afterwards. */
  readonly signal?: AbortSignal
}
