import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { cleanup } from '../../support/cleanup.ts'
import { spawnNode } from '../../support/process.ts'

const scenario = new URL('./install-scenario.ts', import.meta.url)

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-test-'))
  cleanup(t, () => rm(path, { recursive: true, force: true }))
  return path
}

test('fetches Kafka once for two processes that ask at the same time', async (t) => {
  const home = await folder(t)
  const both = [1, 2].map(() => spawnNode(t, scenario, { args: [home] }))
  const [one, two] = await Promise.all(
    both.map(async (process) => process.waitFor('installed', { timeoutMs: 240_000 })),
  )
  assert.equal(one!['classPath'], two!['classPath'])
  assert.match(String(one!['classPath']), /kafka-clients-4\.3\.\d+\.jar/)
  const said = [one!['said'], two!['said']].flat()
  assert.equal(said.filter((line) => String(line).startsWith('Fetching')).length, 1)
  assert.deepEqual((await readdir(home)).length, 1)
})

test('says what to install when there is no Java and it may not install it', async (t) => {
  const home = await folder(t)
  // A PATH without Java, and without apt-get.
  const process = spawnNode(t, scenario, { args: [home], env: { PATH: home } })
  const { text } = await process.waitFor('refused')
  assert.match(String(text), /needs Java 17 or newer \(a JDK\) and Maven on the PATH/)
  assert.match(String(text), /missing here: java, mvn/)
  assert.match(String(text), /apt-get install default-jdk-headless maven/)
})
