/**
 * What the WAL's tests share: a simulated disk on a queue of virtual time, metas, and a WAL that collects
 * what it is told. Test support, not part of the store.
 */
import type { DiskError } from '../../src/common/disk.ts';
import { createRandom } from '../../src/common/random.ts';
import { SimDisk } from '../../src/common/sim-disk.ts';
import { dumpWal } from '../../src/node/wal/dump.ts';
import { segmentNumber } from '../../src/node/wal/segment.ts';
import type { RecoveredReplica, ReplicaMeta, Wal, WalEntry } from '../../src/node/wal/types.ts';
import { type OpenedWal, openWal } from '../../src/node/wal/wal.ts';
import type { WriterOptions } from '../../src/node/wal/writer.ts';

/** Returns a seeded random function. */
export function seeded(seed: number): () => number {
  return createRandom(seed).next;
}

/** A queue of virtual time. */
export class Clock {
  now = 0;
  #events: { at: number; order: number; run: () => void }[] = [];
  #order = 0;

  readonly schedule = (delayMs: number, run: () => void): void => {
    this.#events.push({ at: this.now + delayMs, order: this.#order++, run });
  };

  /** Runs the earliest event; false when there is none before `until`. */
  step(until = Number.POSITIVE_INFINITY): boolean {
    let earliest = this.#events[0];
    for (const event of this.#events) {
      if (
        earliest &&
        (event.at < earliest.at || (event.at === earliest.at && event.order < earliest.order))
      ) {
        earliest = event;
      }
    }
    if (earliest === undefined || earliest.at > until) return false;
    this.#events.splice(this.#events.indexOf(earliest), 1);
    this.now = earliest.at;
    earliest.run();
    return true;
  }

  /** Runs everything that is due within `ms`. */
  run(ms: number): void {
    const until = this.now + ms;
    while (this.step(until));
    this.now = until;
  }

  /** Forgets what is scheduled, as the end of a process does. */
  clear(): void {
    this.#events = [];
  }
}

/** A replica's meta with the fields that matter to a test. */
export function meta(replica: string, fields: Partial<ReplicaMeta> = {}): ReplicaMeta {
  return {
    replica,
    promiseEpoch: 0,
    reservationId: '',
    configuration: 1,
    voters: [],
    previousVoters: [],
    generation: 0,
    baseIndex: 0,
    baseEpoch: 0,
    damaged: false,
    ...fields,
  };
}

/** A machine with a WAL on it, which can crash and be opened again. */
export class Machine {
  readonly clock = new Clock();
  readonly disk: SimDisk;
  readonly options: { -readonly [name in keyof WriterOptions]?: WriterOptions[name] };
  opened: OpenedWal | null = null;
  durableLsn = 0;
  full = false;
  failure: DiskError | null = null;
  /** Told where the log ended that a start has found. */
  found: (lastLsn: number) => void = () => {};

  constructor(seed: number, options: Partial<WriterOptions> = {}) {
    this.options = {
      segmentBytes: 4096,
      reserveBytes: 4096,
      markIdleMs: 5,
      fullRetryMs: 50,
      aheadBytes: 300,
      ...options,
    };
    this.disk = new SimDisk(this.clock.schedule, seeded(seed));
  }

  open(): OpenedWal {
    this.opened = openWal({
      disk: this.disk,
      directory: 'wal',
      schedule: this.clock.schedule,
      found: (lastLsn) => this.found(lastLsn),
      listener: {
        durable: (lsn) => {
          this.durableLsn = lsn;
        },
        full: (full) => {
          this.full = full;
        },
        failed: (error) => {
          this.failure = error;
        },
      },
      options: this.options,
      newSalt: () => Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    });
    this.durableLsn = this.opened.lastLsn;
    return this.opened;
  }

  get wal(): Wal {
    if (this.opened === null) throw new Error('the WAL is not open');
    return this.opened.wal;
  }

  crash(kind: 'power' | 'process' = 'power'): void {
    this.disk.crash(kind);
    this.clock.clear();
    this.opened = null;
    this.failure = null;
    this.full = false;
  }

  /** Closes cleanly. */
  close(): void {
    let closed = false;
    this.wal.close((error) => {
      if (error !== null) throw error;
      closed = true;
    });
    while (!closed && this.clock.step());
    if (!closed) throw new Error('close does not end');
    this.clock.clear();
    this.opened = null;
  }

  /** Appends records of the entry type. */
  entries(partition: number, from: number, to: number, epoch = 1, bytes = 20): void {
    for (let index = from; index <= to; index++) {
      this.wal.append({
        type: 'entry',
        partition,
        index,
        epoch,
        payload: payload(partition, index, epoch, bytes),
      });
    }
    this.wal.flush();
  }

  /** Runs until everything appended is durable. */
  settle(lsn: number): void {
    while (this.durableLsn < lsn && this.clock.step());
    if (this.durableLsn < lsn) throw new Error(`lsn ${lsn} does not become durable`);
  }

  read(
    partition: number,
    from: number,
    countMax = 1000,
    bytesMax = 1 << 20,
  ): { gone: boolean; entries: WalEntry[] } {
    let answer: { gone: boolean; entries: WalEntry[] } | undefined;
    let failed: DiskError | null = null;
    this.wal.read(partition, from, countMax, bytesMax, (error, result) => {
      failed = error;
      answer = result;
    });
    while (answer === undefined && failed === null && this.clock.step());
    if (failed !== null) throw failed;
    if (answer === undefined) throw new Error('read does not end');
    return answer;
  }

  /** Number of the oldest segment there is. */
  get firstSegment(): number {
    return Math.min(
      ...this.disk.listSync('wal').map((name) => segmentNumber(name) ?? Number.POSITIVE_INFINITY),
    );
  }

  /** Copies in the log: of entries whose first record is there too, and of those that have nothing else. */
  copies(): { beside: number; alone: number } {
    const originals = new Set<string>();
    const copies = new Set<string>();
    for (const line of dumpWal(this.disk, 'wal')) {
      if (line.kind !== 'record' || line.type !== 'entry') continue;
      (line.copy ? copies : originals).add(`${line.partition}/${line.index}/${line.epoch}`);
    }
    const beside = [...copies].filter((key) => originals.has(key)).length;
    return { beside, alone: copies.size - beside };
  }

  replica(partition: number): RecoveredReplica | undefined {
    return this.opened?.replicas.find((replica) => replica.partition === partition);
  }
}

/** A payload that names its entry, so that a wrong one is recognised. */
export function payload(partition: number, index: number, epoch: number, bytes = 20): Uint8Array {
  const text = Buffer.from(`${partition}/${index}/${epoch}/`);
  return Buffer.concat([text, Buffer.alloc(Math.max(0, bytes - text.length), index & 255)]);
}
