import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import {
  ALERT_FAILPOINTS,
  BRAKE_FAILPOINTS,
  RELAY_FAILPOINTS,
  REPLAY_FAILPOINTS,
  SOURCE_FAILPOINTS,
} from './failpoints.ts'
import { sweep } from './sweep.ts'

test('sweeps over every failpoint there is', () => {
  const root = join(import.meta.dirname, '..', '..')
  const named = new Set<string>()
  for (const file of globSync('src/**/*.ts', { cwd: root })) {
    if (file.endsWith(join('core', 'failpoint.ts'))) continue
    const text = readFileSync(join(root, file), 'utf8')
    for (const [, name] of text.matchAll(/\bfailpoint\(\s*'([^']+)'/g)) named.add(String(name))
    const others = text.match(/\bfailpoint\((?!\s*'[^']+'\s*\))/g)?.length ?? 0
    assert.equal(others, 0, `${file} has a failpoint whose name is no literal`)
  }
  assert.deepEqual(
    [...named].sort(),
    [
      ...SOURCE_FAILPOINTS,
      ...RELAY_FAILPOINTS,
      ...REPLAY_FAILPOINTS,
      ...BRAKE_FAILPOINTS,
      ...ALERT_FAILPOINTS,
    ].sort(),
  )
})

test('loses, doubles and misorders nothing when a worker is killed', {
  concurrency: 4,
}, async (t) => {
  await sweep(t)
})
