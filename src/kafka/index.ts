export type { Compression } from './codecs.ts'
export { kafka, type KafkaLogin, type KafkaOptions, type Secret } from './kafka.ts'
