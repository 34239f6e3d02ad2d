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

/** What `@RetryableTopic` of Spring Kafka adds; it keeps the other name of the group. */
export const SPRING_RETRY_HEADERS: readonly Header[] = [
  ['kafka_original-topic', text('orders')],
  ['kafka_original-partition', int32(2)],
  ['kafka_original-offset', int64(7n)],
  ['kafka_original-timestamp', int64(BigInt(Date.parse('2026-11-02T00:00:00Z')))],
  ['kafka_original-timestamp-type', text('CreateTime')],
  ['kafka_dlt-original-consumer-group', text('billing')],
  [
    'kafka_exception-fqcn',
    text('org.springframework.kafka.listener.ListenerExecutionFailedException'),
  ],
  ['kafka_exception-cause-fqcn', text('com.shop.PriceException')],
  ['kafka_exception-message', text('Listener failed; order 8 has no price')],
  ['kafka_exception-stacktrace', text('org.springframework.X: y\n\tat com.shop.A.b(A.java:1)\n')],
  ['retry_topic-original-timestamp', int64(BigInt(Date.parse('2026-11-02T00:00:00Z')))],
  ['retry_topic-attempts', int32(4)],
  ['retry_topic-backoff-timestamp', int64(BigInt(Date.parse('2026-11-02T00:00:09Z')))],
]

/** What the binder of Spring Cloud Stream adds. */
export const SPRING_CLOUD_HEADERS: readonly Header[] = [
  ['x-original-topic', text('orders')],
  ['x-original-partition', int32(1)],
  ['x-original-offset', int64(19n)],
  ['x-original-timestamp', int64(BigInt(Date.parse('2026-11-03T00:00:00Z')))],
  ['x-original-timestamp-type', text('CreateTime')],
  ['x-exception-fqcn', text('org.springframework.messaging.MessageHandlingException')],
  ['x-exception-message', text('error occurred in message handler')],
  ['x-exception-stacktrace', text('org.springframework.messaging.X: y\n\tat A.b(A.java:1)\n')],
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
  ['source_trace_id', text('0b7a6f7e-2d5c-4c0e-8f5a-1d2c3b4a5968')],
]

/** What SmallRye Reactive Messaging adds: a program whose headers have to be named. */
export const SMALLRYE_HEADERS: readonly Header[] = [
  ['dead-letter-reason', text('order 9 has no price')],
  ['dead-letter-cause', text('null pointer')],
  ['dead-letter-topic', text('orders')],
  ['dead-letter-partition', text('3')],
  ['dead-letter-offset', text('77')],
  ['dead-letter-exception-class-name', text('com.shop.PriceException')],
  ['dead-letter-cause-class-name', text('java.lang.NullPointerException')],
]

/** Their names, as `deadLetterTopics` takes them. */
export const SMALLRYE_NAMES = {
  topic: 'dead-letter-topic',
  partition: 'dead-letter-partition',
  offset: 'dead-letter-offset',
  class: 'dead-letter-exception-class-name',
  cause: 'dead-letter-cause-class-name',
  message: 'dead-letter-reason',
} as const
