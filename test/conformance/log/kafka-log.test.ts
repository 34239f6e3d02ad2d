import { kafkaLogHarness } from '../../support/kafka-log.ts'
import { logConformance } from './suite.ts'

logConformance('Kafka', kafkaLogHarness, { transactional: false })
