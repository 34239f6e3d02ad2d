import type { Header } from '../../src/events/raw-record.ts'

/** A whole number as Java writes it: four bytes, the greatest first. */
export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

/** As {@link int32}, of eight bytes. */
export function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(value)
  return bytes
}

const text = (value: string): Buffer => Buffer.from(value)

/** What Spring Kafka's DeadLetterPublishingRecoverer adds. */
export const SPRING_HEADERS: readonly Header[] = [
  ['kafka_deliveryAttempt', int32(3)],
  [
    'kafka_dlt-exception-fqcn',
    text('org.springframework.kafka.listener.ListenerExecutionFailedException'),
  ],
  ['kafka_dlt-exception-cause-fqcn', text('com.shop.PriceException')],
  ['kafka_dlt-exception-message', text('Listener failed; order 7 has no price')],
  [
    'kafka_dlt-exception-stacktrace',
    text(
      'org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed\r\n\tat org.springframework.X.run(X.java:1)\nCaused by: com.shop.PriceException: order 7 has no price\n\tat com.shop.Listener.on(Listener.java:31)\n',
    ),
  ],
  ['kafka_dlt-original-topic', text('orders')],
  ['kafka_dlt-original-partition', int32(5)],
  ['kafka_dlt-original-offset', int64(4_294_967_298n)],
  ['kafka_dlt-original-timestamp', int64(BigInt(Date.parse('2026-11-01T00:00:00Z')))],
  ['kafka_dlt-original-timestamp-type', text('CreateTime')],
  ['kafka_dlt-original-consumer-group', text('billing')],
]

/** What Kafka Connect adds with `errors.deadletterqueue.context.headers.enable`. */
export const CONNECT_HEADERS: readonly Header[] = [
  ['__connect.errors.topic', text('orders')],
  ['__connect.errors.partition', text('0')],
  ['__connect.errors.offset', text('42')],
  ['__connect.errors.connector.name', text('sink')],
  ['__connect.errors.task.id', text('0')],
  ['__connect.errors.stage', text('VALUE_CONVERTER')],
  ['__connect.errors.class.name', text('org.apache.kafka.connect.json.JsonConverter')],
  ['__connect.errors.exception.class.name', text('org.apache.kafka.connect.errors.DataException')],
  ['__connect.errors.exception.message', text('Converting byte[] to Kafka Connect data failed')],
  [
    '__connect.errors.exception.stacktrace',
    text('org.apache.kafka.connect.errors.DataException: x\n\tat A.b(A.java:1)\n'),
  ],
]

/** What Karafka adds. */
export const KARAFKA_HEADERS: readonly Header[] = [
  ['source_topic', text('orders')],
  ['source_partition', text('12')],
  ['source_offset', text('99')],
  ['source_consumer_group', text('billing_group')],
  ['source_attempts', text('4')],
]
