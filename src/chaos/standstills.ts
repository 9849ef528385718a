/**
 * When this program itself stood still: its event loop was busy, or the machine gave it no core. What it did not see answered
 * then says nothing about the cluster.
 */
import type { Window } from './figures.ts';
import { nowUs } from './workload/workbench.ts';

const EVERY_MS = 10;
/** A timer that is late by less is as usual, ms. */
const LATE_MS = 15;

/** Looks at the clock all the time. */
export class Standstills {
  /** In order, µs of the history's clock. */
  readonly windows: Window[] = [];
  private readonly timer: NodeJS.Timeout;
  private last = nowUs();

  constructor() {
    this.timer = setInterval(() => this.look(), EVERY_MS);
    this.timer.unref();
  }

  private look(): void {
    const now = nowUs();
    const due = this.last + EVERY_MS * 1_000;
    if (now - due >= LATE_MS * 1_000) this.windows.push({ from: due, to: now });
    this.last = now;
  }

  stop(): void {
    clearInterval(this.timer);
  }
}
