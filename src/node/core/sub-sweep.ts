/**
 * What clears away sub-counters that nobody will ever ask for again: their home was to be salted and is not, or was unsalted by a leader that could
 * not tell so any more. The leader of the partition that has them goes over their rows, and asks the leaders of the homes.
 * INVARIANT: a sub-counter is cleared away only if a confirmed leader of its home has said that its set is neither in the log there nor about to
 * be: a set is appended by the leadership that has made it alone, so it never will be.
 */
import { asBuffer } from '../../common/bytes.ts';
import { partitionOf } from '../../common/hash.ts';
import type { Entry } from './entry.ts';
import {
  DamagedRowError,
  decodeValue,
  relativeKey,
  splitUserKey,
  storeKey,
  storeRange,
  TABLE_VALUES,
} from './layout.ts';
import type { Leadership } from './leadership.ts';
import { readSubRow, SUB_ROWS, type SubRow } from './sub-rows.ts';

/** Rows are gone over when a leadership begins and, as long as there are any, each after so long, ms. */
const SWEEP_MS = 300_000;
/** A store that does not answer is asked again after this, ms. */
const AGAIN_MS = 5_000;
/** Of rows that are asked for at a time: their homes may have no leader for long. */
const PAGE_BYTES = 4 * 1024;

/** The sweeps of one leadership. */
export class SubSweep {
  private readonly leadership: Leadership;
  /** Not before this time, ms. */
  private nextAt = 0;
  private isReading = false;
  /** Where the next page begins; null: at the first row. */
  private from: Uint8Array | null = null;
  /** Rows have come since the view was opened that is read. */
  private hasNew = false;
  /** Questions of this page that are not answered yet. */
  private open = 0;

  constructor(leadership: Leadership) {
    this.leadership = leadership;
  }

  /** An entry was decided. */
  decided({ command }: Entry): void {
    if (command.kind !== 'sub') return;
    this.hasNew = true;
    this.nextAt = Math.min(this.nextAt, this.leadership.host.now + SWEEP_MS);
  }

  tick(): void {
    const { serving, pauseTarget, host } = this.leadership;
    if (!serving || pauseTarget !== '' || host.diskFull || host.overloaded) return;
    if (host.now >= this.nextAt && !this.isReading && this.open === 0) this.read();
  }

  private read(): void {
    const { replica, host } = this.leadership;
    const { partition, machine } = replica;
    const from = this.from ?? storeKey(partition, machine.generation, TABLE_VALUES, SUB_ROWS);
    const { to } = storeRange(partition, machine.generation, TABLE_VALUES);
    this.isReading = true;
    this.hasNew = false;
    this.nextAt = host.now + AGAIN_MS;
    machine.openView(false, (failure, _mark, view) => {
      this.isReading = false;
      if (failure !== null || view === undefined) return;
      this.isReading = true;
      host.store({
        kind: 'readView',
        ...{ view, from, to, bytesMax: PAGE_BYTES },
        done: (error, page) => {
          host.store({ kind: 'closeView', view });
          this.isReading = false;
          if (replica.leadership !== this.leadership) return;
          if (error !== null) return replica.readFailed('sub-counters', error);
          if (page !== undefined) this.take(page.rows, page.more);
        },
      });
    });
  }

  private take(
    rows: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[],
    more: boolean,
  ): void {
    const { replica, host } = this.leadership;
    const last = rows[rows.length - 1];
    const isAll = !more || last === undefined;
    const isEmpty = rows.length === 0 && this.from === null && !this.hasNew;
    this.from = isAll ? null : Buffer.concat([asBuffer(last.key), Buffer.of(0)]);
    if (isEmpty) this.nextAt = Number.POSITIVE_INFINITY;
    else this.nextAt = isAll ? host.now + SWEEP_MS : host.now;
    try {
      for (const { key, value } of rows) {
        const row = relativeKey(key).subarray(1);
        // One that was told of its end goes by itself.
        if (decodeValue(row, value).expiresAt === 0) this.ask(readSubRow(row));
      }
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      replica.markDamaged(`a sub-counter: ${error.message}`);
    }
  }

  private ask({ counter, isOpen, key }: SubRow): void {
    const { counters, host, writes } = this.leadership;
    const salted = Buffer.from(key);
    const home = partitionOf(splitUserKey(salted).key, host.partitionCount);
    this.open++;
    counters.orders.order('COUNTER_ASK', salted, counter, home, ({ closed: isUnused }) => {
      this.open--;
      if (!isUnused || this.leadership.pauseTarget !== '' || host.diskFull) return;
      if (isOpen) writes.append('quorum', null, { kind: 'sub', action: 'close', salted, counter });
      writes.append('quorum', null, { kind: 'sub', action: 'forget', salted, counter });
    });
  }
}
