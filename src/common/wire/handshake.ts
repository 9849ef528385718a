/**
 * The handshake, checked in one place for every stream and call: versions, cluster, node, role, client id.
 * Pure. It does not authenticate: `auth` is reserved.
 * INVARIANT: no handler of a service sees a caller of another cluster, of no shared protocol version, or one that
 * meant to reach another node (addresses are reused; ids are not).
 * INVARIANT: what is chosen is the highest version that both sides offer: a side that offers less than its build knows is spoken
 * to as if it knew no more.
 */
import { RingkeepError } from '../errors.ts';
import {
  CLIENT_ID_BYTES,
  HELLO_ID_LENGTH_MAX,
  PROTOCOL_MAX,
  PROTOCOL_MIN,
  STREAM_IN_FLIGHT_MAX,
} from '../limits.ts';
import type { ServerIdentity } from './contract.ts';
import type { Hello, Welcome } from './messages.ts';

const ROLES: readonly string[] = ['client', 'router', 'node'];

/** Builds a Hello of this build's versions, unless `protocolMax` is lower; what is left out is empty. */
export function makeHello(fields: Partial<Hello> & Pick<Hello, 'role'>): Hello {
  return {
    protocolMin: PROTOCOL_MIN,
    protocolMax: PROTOCOL_MAX,
    clusterId: '',
    nodeId: '',
    incarnation: '',
    boot: 0,
    clientId: new Uint8Array(0),
    auth: new Uint8Array(0),
    expectedNode: '',
    storeId: '',
    ...fields,
  };
}

function checkShape(hello: Hello): void {
  if (!ROLES.includes(hello.role)) {
    throw new RingkeepError('INVALID_ARGUMENT', 'hello: the role must be client, router or node');
  }
  if (hello.clientId.length !== 0 && hello.clientId.length !== CLIENT_ID_BYTES) {
    throw new RingkeepError('INVALID_ARGUMENT', `hello: a client id has ${CLIENT_ID_BYTES} bytes or none`);
  }
  if (hello.role === 'node' && hello.nodeId === '') {
    throw new RingkeepError('INVALID_ARGUMENT', 'hello: a node must say its id');
  }
  for (const id of [hello.clusterId, hello.nodeId, hello.incarnation, hello.expectedNode, hello.storeId]) {
    if (id.length > HELLO_ID_LENGTH_MAX)
      throw new RingkeepError('INVALID_ARGUMENT', 'hello: an id is too long');
  }
}

/**
 * Checks a Hello against who we are and returns the Welcome that answers it.
 * @throws RingkeepError INVALID_ARGUMENT, VERSION_MISMATCH, WRONG_CLUSTER, WRONG_NODE
 */
export function answerHello(
  hello: Hello | null | undefined,
  identity: ServerIdentity,
  maxInFlight: number = STREAM_IN_FLIGHT_MAX,
): Welcome {
  if (hello === null || hello === undefined) {
    throw new RingkeepError('INVALID_ARGUMENT', 'the first message must carry a hello');
  }
  if (hello.protocolMin < 1 || hello.protocolMin > hello.protocolMax) {
    throw new RingkeepError('INVALID_ARGUMENT', 'hello: protocol_min must be from 1 to protocol_max');
  }
  const { protocolMax = PROTOCOL_MAX } = identity;
  const protocol = Math.min(protocolMax, hello.protocolMax);
  if (protocol < Math.max(PROTOCOL_MIN, hello.protocolMin)) {
    throw new RingkeepError(
      'VERSION_MISMATCH',
      `the caller speaks protocol ${hello.protocolMin} to ${hello.protocolMax}, ` +
        `this ${identity.role} ${PROTOCOL_MIN} to ${protocolMax}`,
    );
  }
  checkShape(hello);
  if (hello.clusterId !== '' && identity.clusterId !== '' && hello.clusterId !== identity.clusterId) {
    throw new RingkeepError(
      'WRONG_CLUSTER',
      `this ${identity.role} belongs to cluster ${identity.clusterId}`,
    );
  }
  if (hello.expectedNode !== '' && hello.expectedNode !== identity.nodeId) {
    throw new RingkeepError('WRONG_NODE', `this is ${identity.role} "${identity.nodeId}"`);
  }
  return {
    protocol,
    clusterId: identity.clusterId,
    role: identity.role,
    nodeId: identity.nodeId,
    boot: identity.boot,
    partitions: identity.partitions,
    maxInFlight,
    keyBytesMax: identity.keyBytesMax,
    valueBytesMax: identity.valueBytesMax,
    storeId: identity.storeId ?? '',
  };
}

/**
 * Checks what came back for our Hello; the server checks the same, but may be older.
 * @returns the error, or undefined when the welcome is good
 */
export function refuseWelcome(welcome: Welcome, hello: Hello): RingkeepError | undefined {
  if (welcome.protocol < hello.protocolMin || welcome.protocol > hello.protocolMax) {
    return new RingkeepError('VERSION_MISMATCH', `the other side chose protocol ${welcome.protocol}`);
  }
  if (hello.clusterId !== '' && welcome.clusterId !== '' && hello.clusterId !== welcome.clusterId) {
    return new RingkeepError('WRONG_CLUSTER', `the other side belongs to cluster ${welcome.clusterId}`);
  }
  if (hello.expectedNode !== '' && hello.expectedNode !== welcome.nodeId) {
    return new RingkeepError('WRONG_NODE', `the other side is "${welcome.nodeId}"`);
  }
  return undefined;
}

/** The refusal of a call that there is from version `since` on, where both sides speak `protocol`. */
export function refuseOlder(
  protocol: number,
  since: number,
  { role, nodeId }: ServerIdentity,
): RingkeepError {
  const text = `${role} ${nodeId} and its caller speak protocol ${protocol} with each other; this call is part of ${since}`;
  return new RingkeepError('VERSION_MISMATCH', text);
}
