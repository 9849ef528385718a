/**
 * Whether a node has room for copies of replicas that are made on it. They need more free space than writes of clients do, so that a copy
 * which does not fit ends before those are refused.
 * INVARIANT: a copy that was given up for want of room, which its removal gives back, is not begun again before there is more room than
 * it has had.
 */
export class CopyRoom {
  private readonly reserveBytes: number;
  /** Free bytes below which none is taken. */
  private wantedBytes: number;
  private freeBytes = Number.POSITIVE_INFINITY;

  constructor(reserveBytes: number) {
    this.reserveBytes = reserveBytes;
    this.wantedBytes = reserveBytes;
  }

  look(freeBytes: number): void {
    this.freeBytes = freeBytes;
    if (freeBytes >= this.wantedBytes) this.wantedBytes = this.reserveBytes;
  }

  /** No copies are taken now. */
  get full(): boolean {
    return this.freeBytes < this.wantedBytes;
  }

  /** The disk has nothing to spare: nothing is kept on it that could be done without. */
  get tight(): boolean {
    return this.freeBytes < this.reserveBytes;
  }

  /** A copy was given up; `bytes` of it had come. */
  gaveUp(bytes: number): void {
    this.wantedBytes = Math.max(this.wantedBytes, this.freeBytes + this.reserveBytes) + bytes;
  }
}
