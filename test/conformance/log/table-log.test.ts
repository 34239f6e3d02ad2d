import { tableLogHarness } from '../../support/table-log.ts'
import { logConformance } from './suite.ts'

logConformance('table', tableLogHarness, { transactional: true })
