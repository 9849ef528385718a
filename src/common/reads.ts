/** Read levels and the gets that ask for them. */
import type { GetOperation } from './wire/messages.ts';

/** A get at the default level. */
export const LINEARIZABLE_GET: GetOperation = {
  level: 'READ_LINEARIZABLE',
  sessionIndex: 0,
  early: [],
  maxStalenessMs: 0,
};

/** A linearizable get that any voter may answer, with a quorum of them. */
export const QUORUM_GET: GetOperation = { ...LINEARIZABLE_GET, level: 'READ_QUORUM' };
