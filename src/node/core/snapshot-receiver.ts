/**
 * Installs a snapshot beside the present state of a replica, under a generation of its own, and asks the replica to
 * switch once everything is in the store and synced. Pulls chunk after chunk; a lost pull is repeated; a snapshot
 * that is gone is given up, and its rows are removed.
 * INVARIANT: until the switch the old state is untouched and goes on answering; a damaged chunk is never installed.
 */
import { bytesEqual, NO_BYTES } from '../../common/bytes.ts';
import type { SnapshotChunk, SnapshotOffer } from '../../common/wire/messages.ts';
import type { StoreWrite } from '../store.ts';
import { isMove } from './copy-budget.ts';
import { EpochStarts } from './epoch-starts.ts';
import type { Host } from './host.ts';
import {
  type AppliedMark,
  absoluteKey,
  behindApplied,
  DamagedRowError,
  decodeApplied,
  openRow,
  storeRange,
  TABLE_EPOCHS,
  TABLE_META,
  TABLE_SESSIONS,
} from './layout.ts';
import type { MachineState } from './machine.ts';
import type { Replica } from './replica.ts';
import { SaltSets } from './salt-sets.ts';
import { Sessions } from './sessions.ts';
import { chunkChecksum, rowBytes } from './snapshot-sender.ts';

const PULL_RETRY_MS = 1_000;
const GIVE_UP_MS = 15_000;

/** A complete copy, ready to be switched to. */
export interface InstalledSnapshot {
  readonly generation: number;
  readonly state: MachineState;
}

/** Pulls and installs one offered snapshot. */
export class SnapshotReceiver {
  readonly offer: SnapshotOffer;
  readonly epoch: number;
  readonly generation: number;
  private readonly replica: Replica;
  private readonly host: Host;
  readonly leader: { readonly id: string; readonly node: string };
  private cursor: Uint8Array = NO_BYTES;
  /** The node takes no more of moves for now. */
  private waits = false;
  /** What was taken of the node's budget for the chunk that is asked for; also when it is asked for again. */
  private roomTaken = 0;
  /** Keys and values that have come so far. */
  bytes = 0;
  private busy = false;
  private closed = false;
  private pulledAt = 0;
  private progressAt: number;
  private mark: AppliedMark | null = null;
  private sessions: Sessions | null = null;
  private epochs = new EpochStarts();
  private salts = new SaltSets();

  constructor(
    replica: Replica,
    host: Host,
    leader: { id: string; node: string },
    epoch: number,
    offer: SnapshotOffer,
  ) {
    this.replica = replica;
    this.host = host;
    this.leader = leader;
    this.epoch = epoch;
    this.offer = offer;
    this.generation = host.nextGeneration();
    this.progressAt = host.now;
    this.pull();
  }

  private pull(): void {
    if (!this.mayPull()) {
      this.waits = true;
      this.progressAt = this.host.now;
      return;
    }
    this.waits = false;
    this.pulledAt = this.host.now;
    const { snapshot } = this.offer;
    this.host.send(this.replica.partition, this.epoch, this.replica.meta.replica, this.leader, {
      body: 'snapshotPull',
      snapshotPull: { snapshot, cursor: this.cursor },
    });
  }

  /** Whether the node may take as much as comes by a pull now. */
  private mayPull(): boolean {
    const { host, replica } = this;
    const record = host.recordOf(replica.partition);
    const own = { id: replica.meta.replica, node: host.options.nodeId };
    if (this.roomTaken > 0 || record === undefined || !isMove(record, own)) return true;
    const room = host.copies.chunkBytes(true);
    if (!host.copies.receive(room, this)) return false;
    this.roomTaken = room;
    return true;
  }

  /** The chunk has come, with so many bytes. */
  private settle(bytes: number): void {
    if (this.roomTaken > 0) this.host.copies.receivedLess(this.roomTaken - bytes);
    this.roomTaken = 0;
  }

  /** What has come so far is removed, before the node has to refuse its clients. */
  private noRoom(): void {
    this.host.room.gaveUp(this.bytes);
    this.replica.endInstall('the disk has no room for copies');
  }

  /** The sender is there, and says so while it has to wait with the next chunk. */
  offeredAgain(): void {
    this.progressAt = this.host.now;
  }

  /** Takes a chunk; anything that is not the one asked for is ignored. */
  chunk(chunk: SnapshotChunk): void {
    if (this.closed || this.busy || chunk.snapshot !== this.offer.snapshot) return;
    // Pulled again later, or given up: the store must never meet a full disk.
    if (this.host.diskFull && !chunk.gone) return;
    if (!chunk.gone && !this.replica.hasRoomForCopy) return this.noRoom();
    if (chunk.gone) return this.replica.endInstall('the sender has dropped the snapshot');
    if (!bytesEqual(chunk.cursor, this.cursor)) return;
    if (chunk.keys.length !== chunk.values.length) return;
    if (chunk.checksum !== chunkChecksum(chunk.keys, chunk.values)) {
      this.host.event({ level: 'warn', event: 'snapshot_chunk_damaged', partition: this.replica.partition });
      return;
    }
    this.busy = true;
    this.progressAt = this.host.now;
    const bytes = rowBytes(chunk.keys, chunk.values);
    this.bytes += bytes;
    this.host.copies.receivedBytes += bytes;
    this.settle(bytes);
    const { partition } = this.replica;
    const batch: StoreWrite[] = chunk.keys.map((key, i) => ({
      key: absoluteKey(partition, this.generation, key),
      value: chunk.values[i]!,
    }));
    try {
      for (const [i, key] of chunk.keys.entries()) this.look(key, chunk.values[i]!);
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      return this.replica.endInstall(error.message);
    }
    this.host.store({
      kind: 'write',
      batch,
      done: (error) => {
        if (this.closed) return;
        this.busy = false;
        if (error !== null) return this.replica.endInstall(`store: ${error.message}`);
        if (chunk.done) return this.finish();
        this.cursor = chunk.next;
        this.pull();
      },
    });
  }

  /** Picks the applied mark, the deduplication table and the starts of epochs out of the rows that pass. */
  private look(relative: Uint8Array, value: Uint8Array): void {
    const table = relative[0];
    const row = relative.subarray(1);
    if (table === TABLE_META) {
      const bytes = openRow(row, value);
      this.mark = decodeApplied(bytes);
      this.salts = SaltSets.decode(behindApplied(bytes));
    }
    if (table === TABLE_EPOCHS) this.epochs = EpochStarts.decode(openRow(row, value));
    if (table !== TABLE_SESSIONS) return;
    const { sessions, index } = Sessions.decode(openRow(row, value), this.replica.sessionLimits);
    if (index !== this.offer.index) throw new DamagedRowError('a snapshot with another deduplication index');
    this.sessions = sessions;
  }

  private finish(): void {
    const { mark, sessions, epochs, salts, offer } = this;
    const isOffered = mark?.index === offer.index && mark.epoch === offer.indexEpoch;
    if (mark === null || sessions === null || !isOffered || epochs.lastEpoch !== mark.epoch) {
      return this.replica.endInstall('the snapshot is incomplete');
    }
    this.busy = true;
    this.host.store({
      kind: 'sync',
      done: (error) => {
        if (this.closed) return;
        this.closed = true;
        if (error !== null) return this.replica.endInstall(`store: ${error.message}`);
        const state = { mark, sessions, epochs, salts, checkpointIndex: mark.index };
        this.replica.switchTo({ generation: this.generation, state });
      },
    });
  }

  /** Repeats a lost pull; gives up when nothing has come for long. */
  tick(): void {
    if (this.closed || this.busy) return;
    if (!this.replica.hasRoomForCopy) return this.noRoom();
    if (this.host.now - this.progressAt > GIVE_UP_MS) return this.replica.endInstall('the sender is silent');
    if (this.waits || this.host.now - this.pulledAt > PULL_RETRY_MS) this.pull();
  }

  /** Gives up and removes what was written. */
  close(): void {
    this.closed = true;
    this.settle(0);
    this.host.store({ kind: 'clear', ...storeRange(this.replica.partition, this.generation) });
  }
}
