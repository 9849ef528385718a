/**
 * The scrubs of one node: how fast they read together, how many rounds it leads at a time, and what is known of those
 * that somebody has asked for, also after the partition has another leader.
 * INVARIANT: over any time, what all scrubs of the node read is at most the rate times that, a tenth of a second's worth,
 * and the last page, which may hold one long row.
 */
import {
  SCRUB_CHUNK_BYTES_MAX,
  SCRUB_CHUNK_BYTES_MIN,
  SCRUB_ROUNDS_MAX,
  SCRUB_RUNS_MAX,
  TICK_MS,
} from '../../common/limits.ts';
import { blankScrub } from '../../common/scrub.ts';
import type { PartitionScrub } from '../../common/wire/admin-messages.ts';
import type { Replica } from './replica.ts';

/** Part of a second whose bytes may be read at once after a pause. */
const BURST = 0.1;
/** Runs of one process start, so that no two of a node have one number. */
const RUNS_PER_BOOT = 1_000_000;

/** A scrub of one replica, as far as the rate is concerned. */
export interface ScrubReader {
  /** It waits for nothing but leave to read on. */
  readonly ready: boolean;
  /** Gives leave to read about so many bytes. */
  grant(bytes: number): void;
}

/** What the scrubs of a node share. */
export class ScrubBook {
  /** Bytes of rows that scrubs have read here since this process began. */
  bytesRead = 0;
  private readonly rate: number;
  private readonly chunk: number;
  private tokens: number;
  private refilledAt = 0;
  /** In the order of their starts, in which they may read: the oldest one holds its view open the longest. */
  private readonly active = new Set<ScrubReader>();
  private rounds = 0;
  /** What was asked for, by run; the statuses change as the rounds go on. */
  private readonly runs = new Map<number, readonly PartitionScrub[]>();
  private readonly replicas: ReadonlyMap<number, Replica>;
  private nextRun: number;

  constructor(
    options: { readonly boot: number; readonly scrubBytesPerSecond: number },
    replicas: ReadonlyMap<number, Replica>,
  ) {
    this.rate = options.scrubBytesPerSecond;
    const perTick = (this.rate * TICK_MS) / 1_000;
    this.chunk = Math.floor(Math.min(SCRUB_CHUNK_BYTES_MAX, Math.max(SCRUB_CHUNK_BYTES_MIN, perTick)));
    this.tokens = this.chunk;
    this.replicas = replicas;
    this.nextRun = options.boot * RUNS_PER_BOOT + 1;
  }

  // ---------------------------------------------------------------- the rate

  enter(scrubber: ScrubReader): void {
    this.active.add(scrubber);
  }

  /** Its end; `granted` is what it may still have read. */
  leave(scrubber: ScrubReader, granted: number): void {
    this.active.delete(scrubber);
    this.tokens += granted;
  }

  /** A page has come. */
  read(granted: number, bytes: number): void {
    this.tokens += granted - bytes;
    this.bytesRead += bytes;
  }

  /** Gives leave for as many chunks as the rate allows; before the replicas tick. */
  tick(now: number): void {
    const most = Math.max(this.rate * BURST, this.chunk);
    this.tokens = Math.min(most, this.tokens + (this.rate * (now - this.refilledAt)) / 1_000);
    this.refilledAt = now;
    for (const scrubber of this.active) {
      if (this.tokens < this.chunk) return;
      if (!scrubber.ready) continue;
      this.tokens -= this.chunk;
      scrubber.grant(this.chunk);
    }
  }

  // ---------------------------------------------------------------- rounds led here

  /** Whether one more may begin; it must end its turn. */
  takeTurn(): boolean {
    if (this.rounds >= SCRUB_ROUNDS_MAX) return false;
    this.rounds += 1;
    return true;
  }

  endTurn(): void {
    this.rounds -= 1;
  }

  // ---------------------------------------------------------------- on demand

  /** Asks for a scrub of partitions, none: of all that are led here. Returns the number to ask with how it stands. */
  begin(partitions: readonly number[]): number {
    const led = [...this.replicas.values()].filter(({ leadership }) => leadership !== null);
    const wanted = partitions.length > 0 ? new Set(partitions) : led.map(({ partition }) => partition);
    const run = this.nextRun++;
    this.runs.set(
      run,
      Array.from(wanted, (partition) => this.ask(partition)),
    );
    const [oldest] = this.runs.keys();
    if (this.runs.size > SCRUB_RUNS_MAX && oldest !== undefined) this.runs.delete(oldest);
    return run;
  }

  private ask(partition: number): PartitionScrub {
    const leadership = this.replicas.get(partition)?.leadership;
    if (leadership) return leadership.scrubs.ask();
    return { ...blankScrub(partition), state: 'SCRUB_UNAVAILABLE', reason: 'this node does not lead it' };
  }

  /** How the scrubs of a run stand; null if it is not known. */
  tell(run: number): readonly PartitionScrub[] | null {
    return this.runs.get(run) ?? null;
  }
}
