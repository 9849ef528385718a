/**
 * What operators set: how replicas are moved, how many there are of each partition, which nodes leave. Remembered as wishes until the
 * topology store has it.
 */
import { RingkeepError } from '../../common/errors.ts';
import {
  LOST_AFTER_S_MAX,
  LOST_AFTER_S_MIN,
  MOVE_BYTES_MAX,
  MOVE_BYTES_MIN,
  MOVES_PER_NODE_MAX,
  REPLICATION_FACTOR_MAX,
} from '../../common/limits.ts';
import { type Membership, MOVE_SETTINGS, type MoveSettings, type NodeRecord } from '../../common/topology.ts';
import { type Context, emit } from './context.ts';

/** What operators change of how replicas are placed and moved. */
export type MoveConfiguration = Partial<MoveSettings & { readonly replicationFactor: number }>;

/** Returns the confirmed settings. */
export function moveSettingsOf({ store }: Pick<Context, 'store'>): MoveSettings {
  return store.cluster()?.moves ?? MOVE_SETTINGS;
}

function refuse(text: string): never {
  throw new RingkeepError('INVALID_ARGUMENT', text);
}

function checkRange(what: string, value: number | undefined, least: number, most: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most)) return;
  refuse(`${what} is a whole number from ${least} to ${most}`);
}

/**
 * Remembers what is to be stored of the configuration.
 * @throws RingkeepError INVALID_ARGUMENT
 */
export function wishConfiguration(context: Context, change: MoveConfiguration): void {
  const { bytesPerSecond, perNode, lostAfterSeconds, replicationFactor } = change;
  checkRange('bytes per second', bytesPerSecond, MOVE_BYTES_MIN, MOVE_BYTES_MAX);
  checkRange('moves per node', perNode, 1, MOVES_PER_NODE_MAX);
  if (lostAfterSeconds !== 0)
    checkRange('lost after, in seconds,', lostAfterSeconds, LOST_AFTER_S_MIN, LOST_AFTER_S_MAX);
  checkRange('a replication factor', replicationFactor, 1, REPLICATION_FACTOR_MAX);
  const members = membersOf(context).length;
  if (replicationFactor !== undefined && replicationFactor > members)
    refuse(`a replication factor of ${replicationFactor} needs as many nodes, there are ${members}`);
  context.wishes.configuration = { ...context.wishes.configuration, ...change };
}

/**
 * Remembers that a node is to leave, or to be a member again.
 * @throws RingkeepError INVALID_ARGUMENT if there is no such node
 */
export function wishMembership(context: Context, node: string, membership: Membership): void {
  if (context.store.node(node) === null) refuse(`there is no node ${node}`);
  context.wishes.membership.set(node, membership);
}

/** Returns whether all that was asked for is stored. */
export function isConfigured({ wishes }: Context): boolean {
  return wishes.membership.size === 0 && Object.keys(wishes.configuration).length === 0;
}

/** Writes what is wished of the cluster's configuration, if its record is free. */
export function stepConfiguration(context: Context): void {
  const { store, wishes } = context;
  const cluster = store.cluster();
  if (Object.keys(wishes.configuration).length === 0 || cluster === null || store.busy('cluster')) return;
  const { replicationFactor = cluster.replicationFactor, ...settings } = wishes.configuration;
  const moves = { ...moveSettingsOf(context), ...settings };
  const next = { ...cluster, replicationFactor, moves };
  if (JSON.stringify(next) === JSON.stringify({ ...cluster, moves: moveSettingsOf(context) })) {
    wishes.configuration = {};
    return;
  }
  emit(context, 'info', 'move_settings_set', { replicationFactor, ...moves });
  store.write([{ key: 'cluster', revision: store.revisionOf('cluster') + 1, value: next }]);
}

/** Whether a node is to have replicas. */
export function isMember({ membership }: NodeRecord): boolean {
  return (membership ?? 'NODE_MEMBER') === 'NODE_MEMBER';
}

/** Returns the nodes that are to have replicas. */
export function membersOf({ store }: Context): NodeRecord[] {
  return store.nodes().filter(isMember);
}
