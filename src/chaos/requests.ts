/** Requests as a client sends them that is not the SDK, for what speaks to one node or sends without regard. */
import type { Request } from '../common/wire/messages.ts';

const NO_BYTES = new Uint8Array(0);

/** Returns a request of no client, at `quorum` and without conditions, with these parts; a read unless they say otherwise. */
export function rawRequest(
  part: Partial<Request> & Pick<Request, 'id' | 'timeLeftMs' | 'keyspace'>,
): Request {
  return {
    key: NO_BYTES,
    clientId: NO_BYTES,
    sequence: 0,
    lowWater: 0,
    sessionTime: 0,
    attempt: 1,
    ack: 'ACK_QUORUM',
    traceParent: '',
    condition: null,
    operation: 'get',
    idempotencyKey: NO_BYTES,
    sharedReads: 0,
    ...part,
  };
}
