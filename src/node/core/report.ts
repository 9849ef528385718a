/** What a node tells the controller of a replica, and when two such reports differ in something that matters at once. */
import type { ReplicaReport } from '../../common/wire/messages.ts';
import type { Replica } from './replica.ts';

function stateOf({ meta, leadership, isLearner }: Replica): ReplicaReport['state'] {
  if (meta.damaged) return 'damaged';
  if (leadership !== null) return 'leader';
  return isLearner ? 'learner' : 'follower';
}

/** Builds the report of a replica as it is now. */
export function buildReport(replica: Replica): ReplicaReport {
  const { meta, log, leadership, machine, partition } = replica;
  return {
    partition,
    replica: meta.replica,
    state: stateOf(replica),
    promiseEpoch: meta.promiseEpoch,
    reservationId: meta.reservationId,
    configuration: meta.configuration,
    voters: meta.voters,
    previousVoters: meta.previousVoters,
    lastEpoch: log.lastEpoch,
    lastIndex: log.lastIndex,
    commitIndex: log.commitIndex,
    appliedIndex: machine.appliedIndex,
    ledEpoch: leadership?.epoch ?? 0,
    established: leadership?.serving ?? false,
    paused: leadership !== null && leadership.pauseTarget !== '',
    levelTarget: leadership?.levelTarget() ?? '',
    levelLearners: leadership?.levelLearners() ?? [],
    // An installed snapshot counts once the base that it has given to the log is durable.
    durableEpoch: replica.promiseDurable ? (log.epochAt(log.durableIndex) ?? 0) : 0,
  };
}

/**
 * Whether what is told at once is still as in the last report; indexes alone are told with the periodic ones. Asked after
 * every flush, so it builds nothing.
 */
export function saysTheSame(last: ReplicaReport, replica: Replica): boolean {
  const { meta, leadership } = replica;
  return (
    last.replica === meta.replica &&
    last.state === stateOf(replica) &&
    last.promiseEpoch === meta.promiseEpoch &&
    last.configuration === meta.configuration &&
    last.ledEpoch === (leadership?.epoch ?? 0) &&
    last.established === (leadership?.serving ?? false) &&
    last.paused === (leadership !== null && leadership.pauseTarget !== '') &&
    last.levelTarget === (leadership?.levelTarget() ?? '') &&
    sameTexts(last.levelLearners, leadership?.levelLearners() ?? [])
  );
}

function sameTexts(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, at) => text === other[at]);
}
