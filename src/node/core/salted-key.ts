/** One salted key as the leader of its home sees it: what is known of its copies, and what they are to become. */
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { CopyOrderKind } from '../../common/wire/messages.ts';
import type { RequestHandle } from './host.ts';
import { splitUserKey } from './layout.ts';
import type { SaltSet } from './salt-sets.ts';

/** One copy of one key. Times are on the core's clock, ms. */
export interface Copy {
  readonly partition: number;
  /**
   * `dropped`: it can answer nothing, and `token` is that of its next install, if there is one. `sent`: its install is under way. `held`:
   * it is there, or was when its holder answered last. `unknown`: an earlier leader may have installed it.
   */
  state: 'unknown' | 'dropped' | 'sent' | 'held';
  token: string;
  /** Who has answered last, in which epoch of its partition. */
  holder: ReplicaName | null;
  epoch: number;
  heardAt: number;
  /** The order that is not answered yet; 0: none. */
  order: number;
  /** The last one. */
  number: number;
  ordered: CopyOrderKind;
  /** How often it was repeated. */
  tries: number;
  orderedAt: number;
}

/** What a key's copies are to become. */
export interface Change {
  readonly set: SaltSet;
  /** Who is told. */
  handles: readonly RequestHandle[];
  /** Of its entry; 0: not appended yet. */
  index: number;
}

export interface SaltedKey {
  /** User key. */
  readonly key: Uint8Array;
  copies: Copy[];
  /** Salted since it was hot, and no longer than that. */
  automatic: boolean;
  /** The newest entry that may touch the key. */
  touchedAt: number;
  /** No copy is installed before this time. */
  quietUntil: number;
  /** An install is being prepared, until then at most. */
  busyUntil: number;
  change: Change | null;
  /** Writes that wait until its copies are gone. */
  waitingWrites: number;
  /** Gets that its copies have answered, as far as they have told. */
  copyReads: number;
}

/** One salted key, as others are told. */
export interface SaltReport {
  readonly keyspace: string;
  readonly key: Uint8Array;
  /** Its home. */
  readonly partition: number;
  readonly automatic: boolean;
  /** `held`: as far as the home knows, it answers reads. */
  readonly copies: readonly { readonly partition: number; readonly held: boolean }[];
  /** Writes that wait for copies to be dropped. */
  readonly waitingWrites: number;
}

/** A key that has no copies yet; no entry from `touchedAt` on is known to touch it. */
export function saltedKey(key: Uint8Array, touchedAt: number): SaltedKey {
  const rest = {
    waitingWrites: 0,
    quietUntil: 0,
    busyUntil: 0,
    change: null,
    copyReads: 0,
    automatic: false,
  };
  return { key: Buffer.from(key), copies: [], touchedAt, ...rest };
}

/** A copy that somebody may have installed. */
export function unknownCopy(partition: number): Copy {
  const order = { order: 0, number: 0, ordered: 'COPY_DROP' as const, tries: 0, orderedAt: 0 };
  return {
    partition,
    state: 'unknown',
    token: '',
    holder: null,
    epoch: 0,
    heardAt: Number.NEGATIVE_INFINITY,
    ...order,
  };
}

/** Where it has copies, or is about to have them. */
export function setOf({ copies, automatic }: SaltedKey): SaltSet {
  return { partitions: copies.map(({ partition }) => partition), automatic, counter: null };
}

/** A copy that nobody has installed. */
export function droppedCopy(partition: number): Copy {
  return { ...unknownCopy(partition), state: 'dropped' };
}

/** Whether none of its copies can answer. */
export function isOpen({ copies }: SaltedKey): boolean {
  return copies.every(({ state }) => state === 'dropped');
}

/** What others are told of a key. */
export function reportOf(
  { key, copies, automatic, waitingWrites }: SaltedKey,
  partition: number,
): SaltReport {
  const told = copies.map((copy) => ({ partition: copy.partition, held: copy.state === 'held' }));
  return { ...splitUserKey(key), partition, automatic, copies: told, waitingWrites };
}
