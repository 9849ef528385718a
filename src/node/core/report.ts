/** What a node tells the controller of a replica, and when two such reports differ in something that matters at once. */
import type { ReplicaReport } from '../../common/wire/messages.ts';
import type { Replica } from './replica.ts';

/** Builds the report of a replica as it is now. */
export function buildReport(replica: Replica): ReplicaReport {
  const { meta, log, leadership, machine, record, partition } = replica;
  const learner = record?.learners.some((name) => name.id === meta.replica) ?? false;
  const state = meta.damaged ? 'damaged' : leadership !== null ? 'leader' : learner ? 'learner' : 'follower';
  return {
    partition,
    replica: meta.replica,
    state,
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
  };
}

/** The part of a report whose change is told at once; indexes alone are told with the periodic ones. */
export function urgentPart(report: ReplicaReport): string {
  const { replica, state, promiseEpoch, configuration, ledEpoch, established, paused, levelTarget } = report;
  return [
    replica,
    state,
    promiseEpoch,
    configuration,
    ledEpoch,
    established,
    paused,
    levelTarget,
    report.levelLearners.join(),
  ].join('|');
}
