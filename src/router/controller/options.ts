/** Defaults of the controller, with their reasons. Bootstrap has none: the operator says how large the cluster is. */
import { SEAL_GRACE_MS } from '../../common/limits.ts';
import type { ControllerOptions } from './types.ts';

/** Everything but `bootstrap`. Times in ms. */
export const CONTROLLER_DEFAULTS: Omit<ControllerOptions, 'bootstrap'> = {
  detector: {},
  // Seals are idempotent and small; a lost stream resends at once, so this covers lost messages only.
  resendMs: 100,
  resendMsMax: 1_000,
  sealGraceMs: SEAL_GRACE_MS,
  // A push and one fsync: a second is long even on a stalled machine.
  ledMs: 1_500,
  // Followers may have to cut and refill their logs first.
  establishMs: 3_000,
  establishMsMax: 60_000,
  reconfigureMs: 10_000,
  prepareMs: 3_000,
  requiredSealMs: 1_500,
  // Longer than a healthy change takes, so that two controllers do not cut each other's changes short.
  resumeMs: 1_500,
  planBackoffMs: 2_000,
  planBackoffMsMax: 60_000,
  // Somebody has to make room.
  fullBackoffMsMax: 600_000,
  balanceAfterMs: 3_000,
  // Several looks of the nodes at what they take, every 5 s.
  loadSteadyMs: 20_000,
  // A hundred requests cost a node some 10 ms of a second; a hand-over keeps the partition's writers waiting about as long.
  loadLeast: 100,
  // Several nodes that join together are planned for together.
  settleMs: 3_000,
  planEveryMs: 1_000,
  planMovesMax: 2_000,
  plannedMax: 2,
  drainMax: 16,
  storeRetryMs: 1_000,
  bootstrapChunk: 100,
};
