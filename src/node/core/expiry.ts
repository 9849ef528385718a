/**
 * The leader's search for values whose time has come: it reads the table of expiries in their order and proposes a log entry
 * that names what is due. Only that entry, once decided, hides a value, on every replica alike: no read looks at a clock.
 * Many values that expire at once are spread over entries and ticks, so that no partition stalls for them.
 * INVARIANT: at most one such entry of a leadership is undecided; what it names is due at its timestamp.
 */
import { EXPIRY_BYTES_MAX, EXPIRY_INTERVAL_MS, EXPIRY_KEYS_MAX } from '../../common/limits.ts';
import type { DueKey } from './entry.ts';
import {
  DamagedRowError,
  openRow,
  relativeKey,
  splitExpiryRow,
  storeRange,
  TABLE_EXPIRIES,
} from './layout.ts';
import type { Leadership } from './leadership.ts';

/** A row of the table weighs that much more than its key, about. */
const ROW_BYTES = 32;

/** Finds what is due in one partition, and proposes its end. */
export class Expiry {
  private readonly leadership: Leadership;
  /** Nothing is due before this log time, as far as the table was read and the machine has told. A new leader reads it. */
  private dueAt = 0;
  /** Entry that is not decided yet; 0: none. */
  private proposed = 0;
  /** The earliest time that it names. */
  private proposedDueAt = 0;
  private reading = false;
  /** Not before this time, ms: a few values that are due soon after each other share an entry. */
  private readAt = 0;
  private ended = false;

  constructor(leadership: Leadership) {
    this.leadership = leadership;
  }

  /** How far the oldest value that is due is behind its time, ms; 0: none is due, or it is not known yet. */
  get latenessMs(): number {
    const { serving, replica, writes } = this.leadership;
    const oldest = replica.machine.decidedIndex < this.proposed ? this.proposedDueAt : this.dueAt;
    return serving && oldest > 0 ? Math.max(0, writes.clock - oldest) : 0;
  }

  tick(): void {
    const { replica, host, serving, pauseTarget, writes } = this.leadership;
    const { machine } = replica;
    if (!serving || pauseTarget !== '' || host.diskFull || host.overloaded || this.reading) return;
    // What is told while the table is read is not in the view that is read: it is taken when that has ended.
    this.dueAt = Math.min(this.dueAt, machine.takeEarliestExpiry());
    if (host.now < this.readAt) return;
    if (this.dueAt > writes.clock || machine.decidedIndex < this.proposed) return;
    this.read();
  }

  end(): void {
    this.ended = true;
  }

  private read(): void {
    const { replica, host } = this.leadership;
    const { partition, machine } = replica;
    const { from, to } = storeRange(partition, machine.generation, TABLE_EXPIRIES);
    this.reading = true;
    machine.openView(false, (failure, _mark, view) => {
      if (failure !== null || view === undefined) {
        this.reading = false;
        return;
      }
      host.store({
        kind: 'readView',
        view,
        from,
        to,
        bytesMax: EXPIRY_BYTES_MAX,
        done: (error, page) => {
          host.store({ kind: 'closeView', view });
          this.reading = false;
          if (this.ended) return;
          if (error !== null) return replica.readFailed('the expiries', error);
          if (page !== undefined) this.take(page.rows, page.more);
        },
      });
    });
  }

  private take(
    rows: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[],
    more: boolean,
  ): void {
    const { replica, host, writes, pauseTarget, salts } = this.leadership;
    const due: DueKey[] = [];
    const { clock } = writes;
    let bytes = 0;
    let blockedAt = Number.POSITIVE_INFINITY;
    this.dueAt = more ? clock : Number.POSITIVE_INFINITY;
    this.readAt = host.now + EXPIRY_INTERVAL_MS;
    try {
      for (const { key, value } of rows) {
        const row = relativeKey(key).subarray(1);
        openRow(row, value);
        const item = splitExpiryRow(row);
        if (item.expiresAt <= clock && !salts.mayExpire(item.key)) {
          // Its copies are being dropped for that: it is looked for again.
          blockedAt = Math.min(blockedAt, item.expiresAt);
          continue;
        }
        const full =
          due.length === EXPIRY_KEYS_MAX || (due.length > 0 && bytes + row.byteLength > EXPIRY_BYTES_MAX);
        if (item.expiresAt > clock || full) {
          this.dueAt = item.expiresAt;
          break;
        }
        bytes += row.byteLength + ROW_BYTES;
        due.push(item);
      }
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      return replica.markDamaged(`an expiry: ${error.message}`);
    }
    // Behind a full page there is more: no pause.
    if (this.dueAt <= clock) this.readAt = host.now;
    this.dueAt = Math.min(this.dueAt, blockedAt);
    // A planned change has begun meanwhile: the next leader will find them.
    const [first] = due;
    if (first === undefined || pauseTarget !== '') return;
    this.proposedDueAt = first.expiresAt;
    this.proposed = writes.append('quorum', null, { kind: 'expireKeys', due }, clock);
  }
}
