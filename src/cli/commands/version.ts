import { readFile } from 'node:fs/promises'
import type { Command } from '../command.ts'
import { EXIT } from '../exit-codes.ts'
import { JSON_OPTION } from '../options.ts'

/** `millrace version` */
export const versionCommand: Command = {
  summary: 'the versions of millrace and Node',
  options: JSON_OPTION,
  async run({ out }) {
    const file = await readFile(new URL('../../../package.json', import.meta.url), 'utf8')
    const { version } = JSON.parse(file) as { version: string }
    if (out.format === 'json') out.json({ millrace: version, node: process.versions.node })
    else out.text(`millrace ${version} (Node ${process.versions.node})`)
    return EXIT.ok
  },
}
