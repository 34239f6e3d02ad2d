// The whole suite on the naive log. No test file of its own, because it fails: see naive-log.test.ts.
import { naiveLogHarness } from '../../support/naive-log.ts'
import { logConformance } from './suite.ts'

logConformance('naive', naiveLogHarness, { transactional: true })
