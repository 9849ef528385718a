/**
 * The defaults of acknowledgement, of the cluster and of keyspaces: a part of the cluster record, changed at an operator's
 * word. What somebody wishes is remembered until the store has it; leaders hear of it by the push that follows.
 * INVARIANT: only what the store has confirmed is told to anybody.
 * Not here: what a level means, and who looks the default of a write up (src/node/core/requests.ts).
 */
import { RingkeepError } from '../../common/errors.ts';
import { ACK_KEYSPACES_MAX, KEYSPACE_BYTES_MAX } from '../../common/limits.ts';
import { ACK_DEFAULTS, type AckDefaults } from '../../common/topology.ts';
import type { AckName } from '../../common/wire/messages.ts';
import { type Context, emit } from './context.ts';

const NAMES: ReadonlySet<AckName> = new Set(['ACK_QUORUM', 'ACK_LEADER', 'ACK_ALL', 'ACK_DEFAULT']);

/** Returns the defaults with one of them changed; the empty keyspace is the cluster, `ACK_DEFAULT` takes its own away. */
export function withAck(acks: AckDefaults, keyspace: string, ack: AckName): AckDefaults {
  if (keyspace === '') return { ...acks, cluster: ack === 'ACK_DEFAULT' ? ACK_DEFAULTS.cluster : ack };
  const others = acks.keyspaces.filter((other) => other.keyspace !== keyspace);
  if (ack === 'ACK_DEFAULT') return { ...acks, keyspaces: others };
  const keyspaces = [...others, { keyspace, ack }].sort((a, b) => (a.keyspace < b.keyspace ? -1 : 1));
  return { ...acks, keyspaces };
}

/** Returns the confirmed defaults. */
export function acksOf({ store }: Context): AckDefaults {
  return store.cluster()?.acks ?? ACK_DEFAULTS;
}

function wished(context: Context): AckDefaults {
  let acks = acksOf(context);
  for (const [keyspace, ack] of context.ackWishes) acks = withAck(acks, keyspace, ack);
  return acks;
}

/**
 * Remembers a change that is to be stored; a later one of the same keyspace replaces it.
 * @throws RingkeepError INVALID_ARGUMENT if there is no such level, the name is too long, or too many keyspaces have one
 */
export function wishAck(context: Context, keyspace: string, ack: AckName): void {
  const refuse = (text: string): never => {
    throw new RingkeepError('INVALID_ARGUMENT', text);
  };
  if (!NAMES.has(ack)) refuse('unknown acknowledgement level');
  if (Buffer.byteLength(keyspace) > KEYSPACE_BYTES_MAX)
    refuse(`a keyspace name has at most ${KEYSPACE_BYTES_MAX} bytes`);
  if (withAck(wished(context), keyspace, ack).keyspaces.length > ACK_KEYSPACES_MAX)
    refuse(`at most ${ACK_KEYSPACES_MAX} keyspaces have a default of their own`);
  context.ackWishes.set(keyspace, ack);
}

/** Writes what is wished, if the cluster record is free; forgets the wishes once it holds them. */
export function stepAcks(context: Context): void {
  const { store, ackWishes } = context;
  const cluster = store.cluster();
  if (ackWishes.size === 0 || cluster === null || store.busy('cluster')) return;
  const acks = wished(context);
  if (JSON.stringify(acks) === JSON.stringify(acksOf(context))) {
    ackWishes.clear();
    return;
  }
  emit(context, 'info', 'ack_defaults_set', { cluster: acks.cluster, keyspaces: acks.keyspaces.length });
  store.write([{ key: 'cluster', revision: store.revisionOf('cluster') + 1, value: { ...cluster, acks } }]);
}
