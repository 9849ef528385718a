/**
 * The replicated state machine of one copy of a partition: decides entries in log order (conditions, counters,
 * deduplication) and writes the effects to the store behind the decision. Decisions depend on the log and the store
 * alone, so every replica takes the same ones.
 * INVARIANT: only entries that are committed and durable here are decided; decidedIndex >= appliedIndex.
 * It knows nothing of leaders and clients: results go to the `decided` hook.
 */
import { NO_BYTES, toLatin1 } from '../../common/bytes.ts';
import { DiskError } from '../../common/disk.ts';
import { assert } from '../../common/errors.ts';
import type { StoreView, StoreWrite } from '../store.ts';
import type { StoreEffect } from './effects.ts';
import type { Command, DueKey, Entry, KeyCommand, RequestId } from './entry.ts';
import type { EpochStarts } from './epoch-starts.ts';
import { depends, execute, isBlind, needsOf, type Outcome, resultOf, resultOfBatch } from './execute.ts';
import { KnownValues } from './known-values.ts';
import {
  type AppliedMark,
  DamagedRowError,
  decodeValue,
  encodeApplied,
  encodeValue,
  expiryRow,
  resultRow,
  type StoredValue,
  sealRow,
  storeKey,
  TABLE_EPOCHS,
  TABLE_EXPIRIES,
  TABLE_META,
  TABLE_RESULTS,
  TABLE_SESSIONS,
  TABLE_VALUES,
} from './layout.ts';
import { entryOf, type ReplicaLog } from './log.ts';
import { encodeRecord, repeat } from './once.ts';
import { encodeResult, openResult, type WriteResult } from './result.ts';
import { saltEffect } from './salt-effects.ts';
import type { SaltSets } from './salt-sets.ts';
import type { Sessions } from './sessions.ts';
import type { StoreRead } from './store-reads.ts';
import { isSaltCommand, type SaltCommand } from './sub-rows.ts';

/** What the machine asks of its replica. */
export interface MachineHooks {
  store(effect: StoreEffect): void;
  /** Reads a value in its turn, if it is still `wanted` then; without `wanted`, before those (store-reads.ts). */
  read(read: StoreRead, wanted?: () => boolean): void;
  /** An entry was decided; `result` is null for entries without a request id. */
  decided(entry: Entry, result: WriteResult | null): void;
  /** The store finished everything up to `index`. */
  applied(index: number): void;
  /** A committed write of a client's changed a value: the bytes of its key (keyspace included) and value. */
  wrote(bytes: number): void;
  /** More entries can be decided now (a value that a condition needed has arrived). */
  resume(): void;
  damaged(reason: string): void;
  failed(error: DiskError): void;
}

/** What the machine of one copy begins with: all of it as of `mark`, which the store has applied. */
export interface MachineState {
  readonly mark: AppliedMark;
  readonly sessions: Sessions;
  readonly epochs: EpochStarts;
  readonly salts: SaltSets;
  /** The deduplication table in the store is as of this index. */
  readonly checkpointIndex: number;
}

/** A batch costs a turn of the store's thread and a mark of its own: fewer rows and bytes wait for the tick. */
const BATCH_ROWS_MIN = 512;
const BATCH_BYTES_MIN = 256 * 1024;

/** Decides and applies the entries of one copy of a partition. */
export class Machine {
  readonly partition: number;
  readonly generation: number;
  readonly sessions: Sessions;
  readonly epochs: EpochStarts;
  readonly salts: SaltSets;
  private readonly hooks: MachineHooks;
  private readonly values: KnownValues;
  /** Results by row (latin1) that the store has not finished; null: released. */
  private readonly results = new Map<
    string,
    { readonly result: WriteResult | null; readonly index: number }
  >();
  /** Writes decided since the last batch was handed to the store. */
  private dirtyValues = new Map<string, { row: Uint8Array; stored: StoredValue | null }>();
  private dirtyRows: StoreWrite[] = [];
  /** Bytes of the values among them, also of those that were overwritten since. */
  private dirtyBytes = 0;
  private dirtyResults: string[] = [];
  private earliestExpiry = Number.POSITIVE_INFINITY;
  private batchesInFlight = 0;
  private handedIndex: number;
  private waiting = false;
  private closed = false;
  /** Last decided entry. */
  mark: AppliedMark;
  appliedIndex: number;
  /** The deduplication table in the store is as of this index. */
  checkpointIndex: number;

  constructor(partition: number, generation: number, state: MachineState, hooks: MachineHooks) {
    this.partition = partition;
    this.generation = generation;
    this.sessions = state.sessions;
    this.epochs = state.epochs;
    this.salts = state.salts;
    this.mark = state.mark;
    this.appliedIndex = state.mark.index;
    this.handedIndex = state.mark.index;
    this.checkpointIndex = state.checkpointIndex;
    this.hooks = hooks;
    this.values = new KnownValues({
      read: (key, done) => this.readUrgently(key, done),
      decode: (key, bytes) => this.decodeChecked(key, bytes),
      readFailed: (error) => this.readFailed(error),
      arrived: () => {
        if (this.waiting) this.hooks.resume();
      },
    });
  }

  get decidedIndex(): number {
    return this.mark.index;
  }

  /** Stops reacting to the store; a later answer for this copy is ignored. */
  close(): void {
    this.closed = true;
  }

  /** Starts fetching what a freshly appended entry will need, so that its decision need not wait. */
  prefetch(command: Command): void {
    const needs = needsOf(command);
    if (needs.length > 0) this.values.areKnown(needs);
  }

  /** Forgets what was fetched for entries that were truncated; what is still needed is fetched again. */
  forgetFetched(): void {
    this.values.forgetFetched();
  }

  /** Decides entries up to `limit` (committed and durable); stops early when a value has to be fetched first. */
  advance(log: ReplicaLog, limit: number): void {
    this.waiting = false;
    while (this.mark.index < limit) {
      const item = log.at(this.mark.index + 1);
      assert(item !== undefined, 'an undecided entry is in memory');
      const entry = entryOf(item);
      const needs = needsOf(entry.command);
      if (needs.length > 0 && !this.values.areKnown(needs)) {
        this.waiting = true;
        return;
      }
      if (entry.epoch !== this.mark.epoch) this.startEpoch(entry);
      this.mark = { index: entry.index, epoch: entry.epoch, logTime: entry.timestamp };
      const result = this.decide(entry);
      if (needs.length > 0) this.values.release(needs);
      this.hooks.decided(entry, result);
      // Its bytes may stay for followers; what was decoded from them weighs more than a small entry itself.
      item.entry = null;
    }
  }

  private readUrgently(
    key: Uint8Array,
    done: (error: DiskError | null, bytes: Uint8Array | undefined) => void,
  ): void {
    this.hooks.read({
      kind: 'get',
      key: storeKey(this.partition, this.generation, TABLE_VALUES, key),
      done: (error, bytes) => {
        if (!this.closed) done(error, bytes);
      },
    });
  }

  private readFailed(error: DiskError): void {
    if (error.code === 'EIO') this.hooks.damaged(`store read: ${error.message}`);
    else this.hooks.failed(error);
  }

  private decodeChecked(key: Uint8Array, bytes: Uint8Array | undefined): StoredValue | null | 'damaged' {
    if (bytes === undefined) return null;
    try {
      return decodeValue(key, bytes);
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      this.hooks.damaged(error.message);
      return 'damaged';
    }
  }

  private startEpoch({ index, epoch }: Entry): void {
    this.epochs.add(index, epoch);
    const key = storeKey(this.partition, this.generation, TABLE_EPOCHS, NO_BYTES);
    this.dirtyRows.push({ key, value: sealRow(NO_BYTES, this.epochs.encode()) });
  }

  private decide(entry: Entry): WriteResult | null {
    const { command, requestId } = entry;
    if (command.kind === 'expireKeys') {
      this.expireKeys(entry, command.due);
      return null;
    }
    if (isSaltCommand(command)) {
      this.carryOutSalt(entry, command);
      return null;
    }
    if (command.kind === 'expireSessions') {
      for (const { client, sequence } of this.sessions.expire(command.before)) {
        this.writeResult(resultRow(client, sequence), null, entry.index);
      }
      return null;
    }
    if (requestId === null || command.kind === 'establish' || command.kind === 'tick') return null;
    const found = this.sessions.lookup(requestId, entry.timestamp);
    switch (found.kind) {
      case 'seen':
        return { kind: 'duplicate', index: found.index, stored: found.stored };
      case 'full':
        return { kind: 'refused', code: 'OVERLOADED' };
      case 'expired':
      case 'unknown':
        return { kind: 'refused', code: 'SESSION_EXPIRED' };
      case 'new':
        return this.execute(entry, requestId);
    }
  }

  private carryOutSalt(entry: Entry, command: SaltCommand): void {
    const current = (key: Uint8Array): StoredValue | null => this.values.current(key);
    const { writes, set } = saltEffect(command, entry, current, this.salts.subSetOf(command.salted));
    for (const { key, stored } of writes) this.writeValue(key, entry.index, stored);
    if (set !== null) this.salts.set(command.salted, set);
  }

  private execute(entry: Entry, requestId: RequestId): WriteResult {
    const { command } = entry;
    const conditional = !isBlind(command);
    const result = this.perform(entry);
    const released = this.sessions.record(requestId, entry.index, conditional, entry.timestamp);
    for (const sequence of released) {
      this.writeResult(resultRow(requestId.client, sequence), null, entry.index);
    }
    if (conditional) this.writeResult(resultRow(requestId.client, requestId.sequence), result, entry.index);
    return result;
  }

  private perform({ command, index, epoch }: Entry): WriteResult {
    if (command.kind !== 'once') return this.write(command, index, epoch);
    const { record, fingerprint, keptUntil, write } = command;
    const before = this.values.current(record);
    if (before !== null) return repeat(before.value, fingerprint);
    const result = this.write(write, index, epoch);
    // What was refused has no effect, and may be tried again.
    if (result.kind === 'refused') return result;
    const value = encodeRecord(fingerprint, result);
    const content = { kind: 'value', codec: 0, value } as const;
    this.writeValue(record, index, { ...content, version: index, epoch, expiresAt: keptUntil });
    return result;
  }

  private write(command: Command, index: number, epoch: number): WriteResult {
    if (command.kind === 'batch') return this.writeAll(command.items, index, epoch);
    assert('key' in command, 'a request of a client works on keys');
    const outcome = this.outcomeOf(command, index, epoch);
    if (outcome.kind === 'write') this.writeValue(command.key, index, outcome.stored);
    return resultOf(outcome, index, epoch);
  }

  /** Carries out all commands of a batch or none. */
  private writeAll(items: readonly KeyCommand[], index: number, epoch: number): WriteResult {
    const outcomes = items.map((item) => this.outcomeOf(item, index, epoch));
    const result = resultOfBatch(items, outcomes, index, epoch);
    if (result.kind !== 'applied') return result;
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.kind === 'write') this.writeValue(items[at]!.key, index, outcome.stored);
    }
    return result;
  }

  private outcomeOf(command: KeyCommand, index: number, epoch: number): Outcome {
    const current = depends(command) ? this.values.current(command.key) : null;
    return execute(command, index, epoch, current);
  }

  /** Ends what still expires at the times that are named; a key that was written since has another one, or none. */
  private expireKeys(entry: Entry, due: readonly DueKey[]): void {
    for (const { key, expiresAt } of due) {
      assert(expiresAt > 0 && expiresAt <= entry.timestamp, 'nothing expires before its time');
      if (this.values.current(key)?.expiresAt === expiresAt) this.writeValue(key, entry.index, null);
      const row = expiryRow(expiresAt, key);
      this.dirtyRows.push({
        key: storeKey(this.partition, this.generation, TABLE_EXPIRIES, row),
        value: null,
      });
    }
  }

  /** The earliest time at which a value that was written since the last call expires; Infinity: there is none. */
  takeEarliestExpiry(): number {
    const earliest = this.earliestExpiry;
    this.earliestExpiry = Number.POSITIVE_INFINITY;
    return earliest;
  }

  private writeValue(key: Uint8Array, index: number, stored: StoredValue | null): void {
    const name = toLatin1(key);
    this.values.write(name, index, stored);
    this.dirtyValues.set(name, { row: key, stored });
    this.dirtyBytes += stored?.value.byteLength ?? 0;
    this.hooks.wrote(key.byteLength + (stored?.value.byteLength ?? 0));
    if (stored === null || stored.expiresAt === 0) return;
    const row = expiryRow(stored.expiresAt, key);
    const expiry = {
      key: storeKey(this.partition, this.generation, TABLE_EXPIRIES, row),
      value: sealRow(row, NO_BYTES),
    };
    this.dirtyRows.push(expiry);
    this.earliestExpiry = Math.min(this.earliestExpiry, stored.expiresAt);
  }

  /** Stores the result of a write that was not blind, or releases it. */
  private writeResult(row: Uint8Array, result: WriteResult | null, index: number): void {
    const name = toLatin1(row);
    this.results.set(name, { result, index });
    this.dirtyResults.push(name);
    const key = storeKey(this.partition, this.generation, TABLE_RESULTS, row);
    this.dirtyRows.push({ key, value: result === null ? null : sealRow(row, encodeResult(result)) });
  }

  /** Hands what was decided to the store, unless a batch is in flight already: then it goes with the next one. */
  flush(): void {
    if (this.batchesInFlight === 0 && this.handedIndex < this.mark.index) this.writeBatch(false);
  }

  /**
   * The same, if it is worth a batch. Nobody waits for the store: reads look into the overlay first, and a crash finds what
   * is missing in the WAL. So what little there is waits for more, until the next tick.
   */
  flushMuch(): void {
    const rows = this.dirtyValues.size + this.dirtyRows.length;
    if (rows >= BATCH_ROWS_MIN || this.dirtyBytes >= BATCH_BYTES_MIN) this.flush();
  }

  /** Writes the deduplication table, as of the last decided entry, with everything decided so far. */
  checkpoint(): void {
    this.writeBatch(true);
  }

  /** Opens a view of exactly the decided state; `withSessions` puts the deduplication table as of it into the view. */
  openView(
    withSessions: boolean,
    done: (error: DiskError | null, mark: AppliedMark, view?: StoreView) => void,
  ): void {
    const mark = this.mark;
    if (withSessions || this.handedIndex < mark.index) this.writeBatch(withSessions);
    this.hooks.store({ kind: 'openView', done: (error, view) => done(error, mark, view) });
  }

  private writeBatch(withSessions: boolean): void {
    const mark = this.mark;
    const values = this.dirtyValues;
    const batch = this.dirtyRows;
    const results = this.dirtyResults;
    this.dirtyValues = new Map();
    this.dirtyRows = [];
    this.dirtyResults = [];
    this.dirtyBytes = 0;
    for (const { row, stored } of values.values()) {
      const key = storeKey(this.partition, this.generation, TABLE_VALUES, row);
      batch.push({ key, value: stored === null ? null : encodeValue(row, stored) });
    }
    const put = (table: number, bytes: Uint8Array): void => {
      batch.push({
        key: storeKey(this.partition, this.generation, table, NO_BYTES),
        value: sealRow(NO_BYTES, bytes),
      });
    };
    put(TABLE_META, encodeApplied(mark, this.salts.size === 0 ? NO_BYTES : this.salts.encode()));
    if (withSessions) put(TABLE_SESSIONS, this.sessions.encode(mark.index));
    this.handedIndex = mark.index;
    this.batchesInFlight++;
    this.hooks.store({
      kind: 'write',
      batch,
      done: (error) => this.written(error, mark.index, values.keys(), results, withSessions),
    });
  }

  private written(
    error: DiskError | null,
    index: number,
    names: Iterable<string>,
    results: readonly string[],
    withSessions: boolean,
  ): void {
    if (this.closed) return;
    this.batchesInFlight--;
    if (error !== null) return this.hooks.failed(error);
    assert(index >= this.appliedIndex, 'batches finish in order');
    this.appliedIndex = index;
    if (withSessions) this.checkpointIndex = index;
    this.values.finished(names, index);
    for (const name of results) {
      const result = this.results.get(name);
      if (result !== undefined && result.index <= index) this.results.delete(name);
    }
    this.hooks.applied(index);
    this.flushMuch();
  }

  /**
   * Reads a key as of the last decided entry or later. If `wanted` says no before its turn has come, it is not read and
   * `done` is never called.
   */
  read(
    key: Uint8Array,
    wanted: () => boolean,
    done: (error: DiskError | null, value: StoredValue | null) => void,
  ): void {
    const written = this.values.unfinished(key);
    if (written !== undefined) return done(null, written.stored);
    const read: StoreRead = {
      kind: 'get',
      key: storeKey(this.partition, this.generation, TABLE_VALUES, key),
      done: (error, bytes) => {
        // The rows of a copy that was replaced are being cleared: their absence means nothing.
        if (this.closed) return done(new DiskError('EOTHER', 'this copy is not in use any more'), null);
        if (error !== null && error.code === 'EIO') this.hooks.damaged(error.message);
        if (error !== null) return done(error, null);
        const value = this.decodeChecked(key, bytes);
        if (value === 'damaged') done(new DiskError('EIO', 'a value failed its checksum'), null);
        else done(null, value);
      },
    };
    this.hooks.read(read, wanted);
  }

  /** Reads the stored result of a write that was decided before; null when it is released, or cannot be read. */
  readResult(id: RequestId, done: (result: WriteResult | null) => void): void {
    const row = resultRow(id.client, id.sequence);
    const written = this.results.get(toLatin1(row));
    if (written !== undefined) return done(written.result);
    this.hooks.read({
      kind: 'get',
      key: storeKey(this.partition, this.generation, TABLE_RESULTS, row),
      done: (error, bytes) => done(this.closed ? null : this.takeResult(row, error, bytes)),
    });
  }

  private takeResult(
    row: Uint8Array,
    error: DiskError | null,
    bytes: Uint8Array | undefined,
  ): WriteResult | null {
    if (error !== null) {
      this.readFailed(error);
      return null;
    }
    try {
      return bytes === undefined ? null : openResult(row, bytes);
    } catch (failure) {
      if (!(failure instanceof DamagedRowError)) throw failure;
      this.hooks.damaged(failure.message);
      return null;
    }
  }
}
