/**
 * What the node core wants done. The core is pure and synchronous: the shell (and the simulator) feed it events, then
 * `take()` the effects and carry them out in the order of the fields below: WAL appends first, so that a message can
 * never leave before the record it speaks of is in the WAL's buffer. Results come back through the `done` functions and
 * the core's event methods, after the shell has set the time with `advance`.
 * INVARIANT: `store` is one ordered queue; an `openView` sees exactly the writes before it.
 */
import type { DiskError } from '../../common/disk.ts';
import type { Topology } from '../../common/topology.ts';
import type { PeerMessage, ReplicaReport, Reply, SealReply } from '../../common/wire/messages.ts';
import type { StoreView, StoreWrite } from '../store.ts';
import type { WalAppend, WalEntry } from '../wal/types.ts';

/** A read of log entries that are no longer in memory. */
export interface WalReadEffect {
  readonly partition: number;
  readonly from: number;
  readonly countMax: number;
  readonly bytesMax: number;
  readonly done: (error: DiskError | null, result?: { gone: boolean; entries: WalEntry[] }) => void;
}

/** One step of the ordered store queue. */
export type StoreEffect =
  | {
      readonly kind: 'write';
      readonly batch: readonly StoreWrite[];
      readonly done: (error: DiskError | null) => void;
    }
  | {
      readonly kind: 'get';
      readonly key: Uint8Array;
      readonly done: (error: DiskError | null, value?: Uint8Array | undefined) => void;
    }
  | { readonly kind: 'openView'; readonly done: (error: DiskError | null, view?: StoreView) => void }
  | {
      readonly kind: 'readView';
      readonly view: StoreView;
      readonly from: Uint8Array;
      readonly to: Uint8Array;
      readonly bytesMax: number;
      readonly done: (
        error: DiskError | null,
        result?: { rows: { key: Uint8Array; value: Uint8Array }[]; more: boolean },
      ) => void;
    }
  | { readonly kind: 'closeView'; readonly view: StoreView }
  | { readonly kind: 'sync'; readonly done: (error: DiskError | null) => void }
  | { readonly kind: 'clear'; readonly from: Uint8Array; readonly to: Uint8Array };

/** A log event for the shell's logger: never a key or a value in it. */
export interface CoreEvent {
  readonly level: 'info' | 'warn' | 'error';
  readonly event: string;
  readonly partition?: number;
  readonly [field: string]: unknown;
}

/** Everything that one or more events caused, in order within each list. */
export interface Effects {
  readonly wal: WalAppend[];
  readonly walReads: WalReadEffect[];
  /** Lowest entry index needed per partition: drop the WAL's head below (`Wal.truncateHead`). Null: nothing now. */
  walFloors: { readonly floors: Map<number, number>; readonly keepBytes: number } | null;
  readonly store: StoreEffect[];
  readonly peers: { readonly node: string; readonly message: PeerMessage }[];
  readonly sealReplies: SealReply[];
  /** Replicas whose report changed. */
  readonly reports: ReplicaReport[];
  readonly replies: { readonly connection: number; readonly reply: Reply }[];
  readonly events: CoreEvent[];
  /** What changed of the topology, to be persisted and pushed to those who watch; null: nothing. */
  topologyChanged: Topology | null;
}

/** Returns an empty set of effects. */
export function noEffects(): Effects {
  return {
    wal: [],
    walReads: [],
    walFloors: null,
    store: [],
    peers: [],
    sealReplies: [],
    reports: [],
    replies: [],
    events: [],
    topologyChanged: null,
  };
}
