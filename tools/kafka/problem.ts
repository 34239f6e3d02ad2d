/** What went wrong with the local broker, why, and what to do next, in a text for people. */
export class KafkaToolProblem extends Error {
  override readonly name: string = 'KafkaToolProblem'
}
