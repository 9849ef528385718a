/**
 * What of the WAL is kept for replicas that are sent a snapshot from here: all that has been written since the snapshot was opened, until
 * they follow. Without it, what comes after a snapshot is gone when that is installed, and under a steady load the next one
 * goes the same way, for ever.
 * INVARIANT: no more than `bytesMax` is kept for it. What goes beyond, and all while the disk has no room to spare, is given up.
 */

/** What is held for one replica: bytes written since it began, of how many at most. */
export interface Hold {
  readonly grown: number;
  readonly most: number;
}

/** The holds of one node, by replica id. */
export class WalHolds {
  private readonly bytesMax: number;
  /** What had been written when a hold began. */
  private readonly since = new Map<string, number>();
  private written = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Takes note of the bytes that were written to the WAL since the process began. */
  wrote(written: number): void {
    this.written = written;
  }

  /** Keeps what is written from now on. What was held for this replica before is not needed any more. */
  begin(replica: string): void {
    this.since.set(replica, this.written);
  }

  end(replica: string): void {
    this.since.delete(replica);
  }

  has(replica: string): boolean {
    return this.since.has(replica);
  }

  /** What is held for a replica; null: nothing, or it was more than may be. */
  of(replica: string): Hold | null {
    const since = this.since.get(replica);
    if (since === undefined) return null;
    const grown = this.written - since;
    return grown > this.bytesMax ? null : { grown, most: this.bytesMax };
  }

  /** Bytes at the end of the WAL that are held, for all of them. */
  get bytes(): number {
    let most = 0;
    for (const replica of this.since.keys()) most = Math.max(most, this.of(replica)?.grown ?? 0);
    return most;
  }
}
