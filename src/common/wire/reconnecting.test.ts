import { afterEach, describe, expect, it, vi } from 'vitest';
import { type ConnectionSignals, reconnecting } from './reconnecting.ts';

afterEach(() => {
  vi.useRealTimers();
});

function harness() {
  vi.useFakeTimers();
  const opened: { signals: ConnectionSignals; closed: boolean; close(): void }[] = [];
  const handle = reconnecting(
    (signals) => {
      const connection = {
        signals,
        closed: false,
        close: () => {
          connection.closed = true;
          signals.down();
        },
      };
      opened.push(connection);
      return connection;
    },
    { minMs: 100, maxMs: 1000 },
  );
  return { handle, opened };
}

describe('reconnecting', () => {
  it('opens at once, and again after a pause that doubles up to the longest', () => {
    const { handle, opened } = harness();
    expect(opened).toHaveLength(1);
    expect(handle.current).toBe(opened[0]);
    for (const longest of [100, 200, 400, 800, 1000, 1000]) {
      const count = opened.length;
      opened.at(-1)?.signals.down();
      opened.at(-1)?.signals.down();
      expect(handle.current).toBeUndefined();
      vi.advanceTimersByTime(longest / 2 - 1);
      expect(opened).toHaveLength(count);
      vi.advanceTimersByTime(longest / 2 + 1);
      expect(opened).toHaveLength(count + 1);
    }
    handle.stop();
  });

  it('starts with the shortest pause again after a connection that worked', () => {
    const { handle, opened } = harness();
    for (let round = 0; round < 4; round += 1) {
      opened.at(-1)?.signals.down();
      vi.advanceTimersByTime(1000);
    }
    opened.at(-1)?.signals.up();
    opened.at(-1)?.signals.down();
    vi.advanceTimersByTime(100);
    expect(opened).toHaveLength(6);
    handle.stop();
  });

  it('stops cleanly, connected or in a pause', () => {
    const connected = harness();
    connected.handle.stop();
    connected.handle.stop();
    expect(connected.opened[0]?.closed).toBe(true);
    const pausing = harness();
    pausing.opened[0]?.signals.down();
    pausing.handle.stop();
    vi.advanceTimersByTime(10_000);
    expect(connected.opened).toHaveLength(1);
    expect(pausing.opened).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});
