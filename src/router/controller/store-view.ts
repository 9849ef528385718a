/**
 * The controller's copy of the topology store and its outstanding requests. Knows what is confirmed and what is not.
 * INVARIANT: at most one request per key is outstanding; a write that failed or whose outcome is unknown is read back
 * before the key is written again, never repeated blindly (DESIGN section 5, Record).
 */
import { assert } from '../../common/errors.ts';
import type { NodeRecord, PartitionRecord } from '../../common/topology.ts';
import type {
  CasEffect,
  CasOutcome,
  ClusterRecord,
  ReadEffect,
  RebalanceRecord,
  StoreChange,
  StoreEntry,
  StoreKey,
} from './types.ts';

/** What a finished request brought: keys whose confirmed entry is now known (absent ones too). */
export interface Settled {
  readonly keys: readonly StoreKey[];
  /** False after a conflict, an unknown outcome or a read: the entries are somebody's, maybe ours. */
  readonly ours: boolean;
}

/** Entries by key and the requests in flight. */
export class StoreView {
  private readonly entries = new Map<StoreKey, StoreEntry>();
  private readonly outstanding = new Map<number, readonly StoreKey[]>();
  private readonly writes = new Map<number, readonly StoreChange[]>();
  private readonly busyKeys = new Set<StoreKey>();
  /** Newest revision that was told of a key since its last request was sent. */
  private readonly toldRevisions = new Map<StoreKey, number>();
  /** Reads that failed, to be sent again at a time. */
  private retries: { at: number; keys: readonly StoreKey[] }[] = [];
  private nextTag = 1;
  private casEffects: CasEffect[] = [];
  private readEffects: ReadEffect[] = [];

  /** Sets the confirmed state at the start. */
  load(entries: readonly StoreEntry[]): void {
    assert(this.entries.size === 0 && this.outstanding.size === 0, 'the store is loaded once, first');
    for (const entry of entries) this.entries.set(entry.key, entry);
  }

  cluster(): ClusterRecord | null {
    const entry = this.entries.get('cluster');
    return entry?.key === 'cluster' ? entry.value : null;
  }

  rebalance(): RebalanceRecord | null {
    return this.cluster()?.rebalance ?? null;
  }

  /** Sends the compare-and-swap of the cluster's record with another plan of moves. There is one, and it is free. */
  writeRebalance(plan: RebalanceRecord): void {
    const value = { ...this.cluster()!, rebalance: plan };
    this.write([{ key: 'cluster', revision: this.revisionOf('cluster') + 1, value }]);
  }

  partition(partition: number): PartitionRecord | null {
    const entry = this.entries.get(`partition/${partition}`);
    return entry === undefined ? null : (entry.value as PartitionRecord);
  }

  node(id: string): NodeRecord | null {
    const entry = this.entries.get(`node/${id}`);
    return entry === undefined ? null : (entry.value as NodeRecord);
  }

  nodes(): NodeRecord[] {
    const found: NodeRecord[] = [];
    for (const [key, entry] of this.entries)
      if (key.startsWith('node/')) found.push(entry.value as NodeRecord);
    return found;
  }

  partitions(): PartitionRecord[] {
    const found: PartitionRecord[] = [];
    for (const [key, entry] of this.entries) {
      if (key.startsWith('partition/')) found.push(entry.value as PartitionRecord);
    }
    return found;
  }

  /** Grows with every change of any key, and is the same for every controller that has seen the same entries. */
  revision(): number {
    let sum = 0;
    for (const entry of this.entries.values()) sum += entry.revision;
    return sum;
  }

  revisionOf(key: StoreKey): number {
    return this.entries.get(key)?.revision ?? 0;
  }

  busy(key: StoreKey): boolean {
    return this.busyKeys.has(key);
  }

  /** Sends one compare-and-swap of all of `entries` from their confirmed revisions. */
  write(entries: readonly StoreEntry[]): void {
    const tag = this.begin(entries.map((entry) => entry.key));
    const changes = entries.map((entry) => ({ expectedRevision: this.revisionOf(entry.key), entry }));
    for (const { expectedRevision, entry } of changes) {
      assert(entry.revision > expectedRevision, `revision of ${entry.key} grows`);
    }
    this.writes.set(tag, changes);
    this.casEffects.push({ tag, changes });
  }

  /** Sends a linearizable read. */
  read(keys: readonly StoreKey[]): void {
    this.readEffects.push({ tag: this.begin(keys), keys });
  }

  /** Takes the answer to a write; null if it only led to a read. */
  casResult(tag: number, outcome: CasOutcome): Settled | null {
    const changes = this.writes.get(tag);
    if (changes === undefined) return null;
    const keys = this.finish(tag);
    this.writes.delete(tag);
    if (outcome !== 'ok') {
      this.read(keys);
      return null;
    }
    for (const { entry } of changes) this.entries.set(entry.key, entry);
    this.readOvertaken(keys);
    return { keys, ours: true };
  }

  /** Takes the answer to a read: the entries that exist, or null when the read failed and is to be tried at `retryAt`. */
  readResult(tag: number, found: readonly StoreEntry[] | null, retryAt: number): Settled | null {
    if (!this.outstanding.has(tag) || this.writes.has(tag)) return null;
    const keys = this.finish(tag);
    if (found === null) {
      for (const key of keys) this.busyKeys.add(key);
      this.retries.push({ at: retryAt, keys });
      return null;
    }
    const byKey = new Map(found.map((entry) => [entry.key, entry]));
    for (const key of keys) {
      const entry = byKey.get(key);
      if (entry === undefined) this.entries.delete(key);
      else this.entries.set(key, entry);
    }
    this.readOvertaken(keys);
    return { keys, ours: false };
  }

  /**
   * Takes an entry that the store told unasked (a watch); ignored when it is not newer. While the key is busy it is only
   * noted: the answer under way may be older than it, or younger.
   */
  told(entry: StoreEntry): Settled | null {
    const { key, revision } = entry;
    if (this.busyKeys.has(key)) {
      this.toldRevisions.set(key, Math.max(revision, this.toldRevisions.get(key) ?? 0));
      return null;
    }
    if (revision <= this.revisionOf(key)) return null;
    this.entries.set(key, entry);
    return { keys: [key], ours: false };
  }

  /**
   * Reads keys whose answer is older than news that came before it. Nobody tells them again, and a controller that has
   * nothing to write by what it knows would never meet a conflict.
   */
  private readOvertaken(keys: readonly StoreKey[]): void {
    const overtaken = keys.filter((key) => (this.toldRevisions.get(key) ?? 0) > this.revisionOf(key));
    if (overtaken.length > 0) this.read(overtaken);
  }

  /** Repeats failed reads that are due. */
  tick(now: number): void {
    const due = this.retries.filter((retry) => retry.at <= now);
    this.retries = this.retries.filter((retry) => retry.at > now);
    for (const { keys } of due) {
      for (const key of keys) this.busyKeys.delete(key);
      this.read(keys);
    }
  }

  take(): { cas: CasEffect[]; reads: ReadEffect[] } {
    const taken = { cas: this.casEffects, reads: this.readEffects };
    this.casEffects = [];
    this.readEffects = [];
    return taken;
  }

  private begin(keys: readonly StoreKey[]): number {
    for (const key of keys) {
      assert(!this.busyKeys.has(key), `one request at a time for ${key}`);
      this.busyKeys.add(key);
      this.toldRevisions.delete(key);
    }
    const tag = this.nextTag;
    this.nextTag += 1;
    this.outstanding.set(tag, keys);
    return tag;
  }

  private finish(tag: number): readonly StoreKey[] {
    const keys = this.outstanding.get(tag)!;
    this.outstanding.delete(tag);
    for (const key of keys) this.busyKeys.delete(key);
    return keys;
  }
}
