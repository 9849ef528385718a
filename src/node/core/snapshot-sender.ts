/**
 * A snapshot on offer to one replica: a read view of exactly the decided state, deduplication included, pulled by the
 * receiver in checksummed chunks under the node's byte budget. The view is dropped when nobody pulls for a while.
 */
import { crc32c } from '../../common/crc32c.ts';
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { SnapshotChunk, SnapshotPull } from '../../common/wire/messages.ts';
import type { StoreRow, StoreView } from '../store.ts';
import { isMove } from './copy-budget.ts';
import {
  type AppliedMark,
  absoluteKey,
  DamagedRowError,
  relativeKey,
  storeRange,
  verifyRow,
} from './layout.ts';
import type { Leadership } from './leadership.ts';

const OFFER_MS = 300;
/** An offer that is not taken up: the receiver may have restarted, and not know of this epoch any more. */
const OFFER_GIVE_UP_MS = 2_000;
/** One that pulls no more, in the middle: it may be slow, and then ignores the offer, or have given up. */
const SILENT_MS = 2_000;
/** The offer is repeated so often while a pull waits for the node's budget. */
const WAITING_MS = 1_000;
const IDLE_MS = 30_000;
const EMPTY = new Uint8Array(0);

/** Returns the bytes of a chunk's rows. */
export function rowBytes(keys: readonly Uint8Array[], values: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const [at, key] of keys.entries()) bytes += key.byteLength + values[at]!.byteLength;
  return bytes;
}

/** CRC32C over the lengths and bytes of a chunk's rows: guards the way from store to store. */
export function chunkChecksum(keys: readonly Uint8Array[], values: readonly Uint8Array[]): number {
  // One call of the library for all of them: three for each row take several times as long.
  const bytes = Buffer.allocUnsafe(rowBytes(keys, values) + 8 * keys.length);
  let at = 0;
  for (const [i, key] of keys.entries()) {
    const value = values[i] ?? EMPTY;
    bytes.writeUInt32LE(key.byteLength, at);
    bytes.writeUInt32LE(value.byteLength, at + 4);
    bytes.set(key, at + 8);
    bytes.set(value, at + 8 + key.byteLength);
    at += 8 + key.byteLength + value.byteLength;
  }
  return crc32c(bytes);
}

/** Serves one snapshot to one replica. */
export class SnapshotSender {
  readonly id: string;
  private readonly leadership: Leadership;
  private readonly to: ReplicaName;
  private view: StoreView | null = null;
  private mark: AppliedMark | null = null;
  private generation = 0;
  private closed = false;
  private lastPullAt: number;
  private lastOfferAt = Number.NEGATIVE_INFINITY;
  private pulled = false;
  private waiting: SnapshotPull | null = null;
  private reading = false;
  private sentAll = false;

  constructor(leadership: Leadership, to: ReplicaName) {
    this.leadership = leadership;
    this.to = to;
    this.id = leadership.host.uniqueId();
    this.lastPullAt = leadership.host.now;
  }

  /** Answers a pull of a snapshot that does not exist any more. */
  static refuse(leadership: Leadership, to: ReplicaName, pull: SnapshotPull): void {
    leadership.send(to, { body: 'snapshotChunk', snapshotChunk: { ...emptyChunk(pull), gone: true } });
  }

  /** The last entry that the snapshot holds; undefined before it is open. */
  get index(): number | undefined {
    return this.mark?.index;
  }

  /** The same once the last chunk has been sent. */
  get sentIndex(): number | undefined {
    return this.sentAll ? this.index : undefined;
  }

  /** Opens the view and offers it. */
  start(): void {
    const { machine } = this.leadership.replica;
    this.generation = machine.generation;
    machine.openView(true, (error, mark, view) => {
      if (error !== null || view === undefined) {
        this.closed = true;
        return;
      }
      this.lastPullAt = this.leadership.host.now;
      if (this.closed) return this.leadership.host.store({ kind: 'closeView', view });
      this.view = view;
      this.mark = mark;
      this.offer();
    });
  }

  private offer(): void {
    if (this.mark === null) return;
    this.lastOfferAt = this.leadership.host.now;
    this.leadership.send(this.to, {
      body: 'snapshotOffer',
      snapshotOffer: {
        snapshot: this.id,
        index: this.mark.index,
        indexEpoch: this.mark.epoch,
        configuration: this.leadership.replica.meta.configuration,
      },
    });
  }

  /** Serves a pull now or when the budget allows. */
  pull(pull: SnapshotPull): void {
    this.lastPullAt = this.leadership.host.now;
    this.pulled = true;
    this.waiting = pull;
    this.serve();
  }

  private serve(): void {
    const { host, replica } = this.leadership;
    const pull = this.waiting;
    if (pull === null || this.view === null || this.reading) return;
    const record = host.recordOf(replica.partition);
    const moves = record !== undefined && isMove(record, this.to);
    const room = host.copies.chunkBytes(moves);
    if (!host.copies.send(room, moves, this)) {
      // Waiting for its turn is no silence: the receiver, which hears of the snapshot, has patience.
      if (host.now - this.lastOfferAt >= WAITING_MS) this.offer();
      return;
    }
    this.waiting = null;
    this.reading = true;
    const range = storeRange(replica.partition, this.generation);
    const from =
      pull.cursor.byteLength === 0
        ? range.from
        : absoluteKey(replica.partition, this.generation, pull.cursor);
    host.store({
      kind: 'readView',
      view: this.view,
      from,
      to: range.to,
      bytesMax: room,
      done: (error, result) => {
        this.reading = false;
        if (this.closed) return;
        if (error !== null) return replica.readFailed('a snapshot', error);
        if (result === undefined || !this.verify(result.rows)) return;
        host.copies.sentLess(room - this.sendChunk(pull, result.rows, result.more), moves);
        this.serve();
      },
    });
  }

  /** Nothing else would find a rotten row before it has replaced the good ones of the others. */
  private verify(rows: readonly StoreRow[]): boolean {
    try {
      for (const { key, value } of rows) verifyRow(relativeKey(key), value);
      return true;
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      this.leadership.replica.markDamaged(`found in a snapshot: ${error.message}`);
      return false;
    }
  }

  /** Returns the bytes of its rows. */
  private sendChunk(pull: SnapshotPull, rows: readonly StoreRow[], more: boolean): number {
    const keys = rows.map((row) => relativeKey(row.key));
    const values = rows.map((row) => row.value);
    const last = keys[keys.length - 1];
    const chunk: SnapshotChunk = {
      ...emptyChunk(pull),
      keys,
      values,
      next: more && last !== undefined ? Buffer.concat([last, Buffer.of(0)]) : EMPTY,
      done: !more,
      checksum: chunkChecksum(keys, values),
    };
    this.sentAll ||= chunk.done;
    const bytes = rowBytes(keys, values);
    this.leadership.host.copies.sentBytes += bytes;
    this.leadership.send(this.to, { body: 'snapshotChunk', snapshotChunk: chunk });
    return bytes;
  }

  /** The link came up anew: a receiver that is still at it pulls on, one that has restarted must be told again. */
  offerAgain(): void {
    if (this.closed || this.view === null) return;
    this.pulled = false;
    this.lastPullAt = this.leadership.host.now;
    this.offer();
  }

  /** The receiver has answered that it does not hold it. It may be installing, and then ignores the offer, or have given up. */
  notHeld(): void {
    if (this.sentAll && this.leadership.host.now - this.lastOfferAt >= OFFER_MS) this.offer();
  }

  /** Repeats the offer until it is taken. Returns true when the snapshot has been given up. */
  tick(): boolean {
    const { now } = this.leadership.host;
    if (this.closed) return true;
    const patience = this.pulled ? SILENT_MS : OFFER_MS;
    if (this.mayOffer(now) && now - this.lastOfferAt >= patience) this.offer();
    this.serve();
    return now - this.lastPullAt > (this.pulled ? IDLE_MS : OFFER_GIVE_UP_MS);
  }

  /** Not taken up yet, or nothing has been asked for since the last chunk. What all was sent of, probes ask about. */
  private mayOffer(now: number): boolean {
    if (this.view === null || this.sentAll || this.waiting !== null || this.reading) return false;
    return !this.pulled || now - this.lastPullAt >= SILENT_MS;
  }

  close(): void {
    this.closed = true;
    if (this.view !== null) this.leadership.host.store({ kind: 'closeView', view: this.view });
    this.view = null;
  }
}

function emptyChunk(pull: SnapshotPull): SnapshotChunk {
  return {
    snapshot: pull.snapshot,
    cursor: pull.cursor,
    keys: [],
    values: [],
    next: EMPTY,
    done: false,
    checksum: 0,
    gone: false,
  };
}
