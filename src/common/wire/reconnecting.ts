/**
 * Opens a connection again whenever it has ended, with a growing, jittered pause, until told to stop. Used for what
 * must always be there: a node's controller, its neighbours, a router's nodes. Requests are not repeated here.
 * INVARIANT: at most one connection is open, and none after `stop()`; no timer outlives it.
 */
import { type Clock, systemClock } from '../clock.ts';
import { RECONNECT_MS_MAX, RECONNECT_MS_MIN } from '../limits.ts';

export interface Backoff {
  /** First pause, and the longest; each is multiplied by a random number from 0.5 to 1. */
  readonly minMs: number;
  readonly maxMs: number;
}

export interface Reconnecting<C> {
  /** The connection that is open at present; undefined during a pause and after `stop()`. */
  readonly current: C | undefined;
  /** Closes the connection and opens none any more. Idempotent. */
  stop(): void;
}

/** What `open` calls to tell how its connection fares. */
export interface ConnectionSignals {
  /** It works: the next pause is the shortest again. Call it at the welcome. */
  up(): void;
  /** It has ended (`onEnd`). Only the first call counts. */
  down(): void;
}

/**
 * Keeps a connection open. `open` must call `signals.down()` exactly from the connection's `onEnd`.
 * The first attempt is made at once, in this call.
 */
export function reconnecting<C extends { close(): void }>(
  open: (signals: ConnectionSignals) => C,
  backoff: Backoff = { minMs: RECONNECT_MS_MIN, maxMs: RECONNECT_MS_MAX },
  clock: Clock = systemClock,
): Reconnecting<C> {
  let stopped = false;
  let current: C | undefined;
  let cancel = (): void => {};
  let pauseMs = backoff.minMs;
  const attempt = (): void => {
    let over = false;
    const connection = open({
      up: () => {
        if (!over) pauseMs = backoff.minMs;
      },
      down: () => {
        if (over) return;
        over = true;
        current = undefined;
        if (stopped) return;
        cancel = clock.after(pauseMs * (0.5 + clock.random() / 2), attempt);
        pauseMs = Math.min(backoff.maxMs, pauseMs * 2);
      },
    });
    // Stopped, or ended, from within `open`.
    if (stopped) connection.close();
    else if (!over) current = connection;
  };
  attempt();
  return {
    get current() {
      return current;
    },
    stop: () => {
      stopped = true;
      cancel();
      current?.close();
      current = undefined;
    },
  };
}
