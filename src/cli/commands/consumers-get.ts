import {
  knownPositions,
  listAcceptedFailures,
  listConsumers,
  listGaps,
  type AcceptedFailure,
  type ConsumerSummary,
  type Gap,
} from '../../consumer/queries.ts'
import type { Command } from '../command.ts'
import { withOperator } from '../connect.ts'
import { EXIT } from '../exit-codes.ts'
import { DATABASE_OPTIONS, JSON_OPTION } from '../options.ts'
import { formatFacts, type Fact } from '../sections.ts'
import { shownDuration, shownTime } from '../times.ts'
import { consumerScope, SCOPE_OPTIONS } from './consumer-scope.ts'

/** Decided gaps that are shown of each partition. */
const DECIDED = 3

/** `millrace consumers get` */
export const consumersGetCommand: Command = {
  summary: 'an application partition by partition: what it waits for, and what to do',
  options: { ...SCOPE_OPTIONS, ...JSON_OPTION, ...DATABASE_OPTIONS },
  notes: ['Also what was found wrong with its logs, and what was decided about it.'],
  examples: ['millrace consumers get --app search --topic products --partition 3'],
  run(context) {
    const { args, out } = context
    const scope = consumerScope(args)
    return withOperator(context, { config: 'if-there' }, async ({ operator }) => {
      const { pool } = operator
      // Says what there is when there is no such application.
      await knownPositions(pool, scope)
      const log = await operator.log()
      const positions = await listConsumers(pool, log, { ...scope, lagTimes: true })
      const gaps = (await listGaps(pool, scope)).filter(
        ({ topic, partition }) =>
          (scope.topic === undefined || topic === scope.topic) &&
          (scope.partition === undefined || partition === scope.partition),
      )
      const { application } = scope
      const accepted = await listAcceptedFailures(pool, application)
      if (out.format === 'json') out.json({ application, positions, gaps, accepted })
      else {
        out.text(positions.map((one) => toText(one, gaps)).join('\n\n'))
        for (const one of accepted) out.note(acceptanceOf(one))
      }
      return EXIT.ok
    })
  },
}

function acceptanceOf({ fingerprint, by, reason, expiresAt }: AcceptedFailure): string {
  return `failures ${fingerprint} become dead letters until ${shownTime(expiresAt) ?? ''}, accepted by ${by}: ${reason}`
}

function toText(consumer: ConsumerSummary, gaps: readonly Gap[]): string {
  const { lag, lagMs } = consumer
  const own = gaps.filter(
    ({ topic, partition }) => topic === consumer.topic && partition === consumer.partition,
  )
  const open = own.find(({ decided, topicId }) => decided === null && topicId === consumer.topicId)
  const decided = own.filter((gap) => gap.decided !== null).slice(0, DECIDED)
  return formatFacts([
    ['partition', `${consumer.application} ${consumer.topic}/${consumer.partition}`],
    ['state', consumer.state],
    ['reason', consumer.reason],
    ['do', consumer.next],
    ['position', consumer.position],
    ['end', consumer.end],
    [
      'lag',
      lag === null
        ? null
        : `${lag} records${lagMs === null ? '' : `, ${shownDuration(lagMs) ?? ''}`}`,
    ],
    ['owner', consumer.owner],
    ['paused', consumer.pause === null ? null : shownTime(consumer.pause.at)],
    ['found', open === undefined ? null : `${open.code}, ${shownTime(open.foundAt) ?? ''}`],
    ...(open === undefined ? [] : factsOf(open)),
    ['generation', consumer.generation],
    ['epoch', consumer.epoch],
    ['topic id', consumer.topicId],
    ...decided.map((gap): Fact => ['resolved', decisionOf(gap)]),
  ])
}

function factsOf(gap: Gap): readonly Fact[] {
  const { application, evidence } = gap
  const { flood } = evidence
  if (flood === undefined) return [['missing', bounds(gap)]]
  const { fingerprint, failed, records, keys, error, offset, codeVersion } = flood
  return [
    ['failing', `${failed} of ${records}, over ${keys} keys`],
    ['fingerprint', fingerprint],
    ['first', `offset ${offset}`],
    [
      'error',
      `${error.class}${error.code === undefined ? '' : ` ${error.code}`}: ${error.message}`,
    ],
    ['code', codeVersion],
    [
      'or',
      `millrace consumers resume --app ${application} --accept-failures --reason <why>, if they are really bad`,
    ],
  ]
}

function bounds({ from, to }: Gap): string | null {
  if (from !== null && to !== null) return `offsets ${from} to ${to - 1n}`
  if (from !== null) return `from offset ${from} on`
  return to === null ? null : `up to offset ${to - 1n}; how far back is not known`
}

function decisionOf({ code, decided }: Gap): string | null {
  if (decided === null) return null
  const { decision, by, at, reason } = decided
  return `${code}: ${decision} by ${by}, ${shownTime(at) ?? ''}${reason === null ? '' : `: ${reason}`}`
}
