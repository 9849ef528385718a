import { describe, expect, it } from 'vitest';
import { AssertionError } from '../../common/errors.ts';
import type { WalAppend } from '../wal/types.ts';
import { encodeEntry } from './entry.ts';
import { ReplicaLog } from './log.ts';

function makeLog(): { log: ReplicaLog; wal: WalAppend[] } {
  const wal: WalAppend[] = [];
  const start = { baseIndex: 0, baseEpoch: 0, lastIndex: 0, commitIndex: 0, logTime: 0 };
  return { log: new ReplicaLog(7, (record) => wal.push(record), start, []), wal };
}

function append(log: ReplicaLog, epoch: number, count: number, bytes = 0): void {
  for (let i = 0; i < count; i++) {
    const index = log.lastIndex + 1;
    const command = {
      kind: 'delete' as const,
      key: Buffer.alloc(bytes + 1),
      condition: { kind: 'none' as const },
    };
    const entry = {
      epoch,
      index,
      timestamp: 1_000 + index,
      ack: 'quorum' as const,
      requestId: null,
      command,
    };
    log.append(epoch, encodeEntry(entry), entry);
  }
}

describe('a replica’s log', () => {
  it('knows the epoch of every index, and where an epoch starts', () => {
    const { log } = makeLog();
    append(log, 2, 3);
    append(log, 5, 2);
    expect([0, 1, 3, 4, 5, 6].map((index) => log.epochAt(index))).toEqual([0, 2, 2, 5, 5, undefined]);
    expect(log.epochStart(5)).toBe(4);
    expect(log.epochStart(3)).toBe(1);
    expect(log.lastEpoch).toBe(5);
  });

  it('knows no epoch below a lost head, save that of what the store has applied', () => {
    const start = { baseIndex: 0, baseEpoch: 0, lastIndex: 9, commitIndex: 7, commitEpoch: 3, logTime: 0 };
    const recovered = (epochs: { index: number; epoch: number }[]): ReplicaLog =>
      new ReplicaLog(7, () => 1, start, epochs);
    const epochsOf = (log: ReplicaLog) => [0, 4, 5, 7, 8, 9].map((index) => log.epochAt(index));
    const first = recovered([
      { index: 5, epoch: 2 },
      { index: 6, epoch: 3 },
      { index: 9, epoch: 4 },
    ]);
    expect(epochsOf(first)).toEqual([undefined, undefined, 2, 3, 3, 4]);
    const second = recovered([
      { index: 8, epoch: 3 },
      { index: 9, epoch: 4 },
    ]);
    expect(epochsOf(second)).toEqual([undefined, undefined, undefined, 3, 3, 4]);
    const none = new ReplicaLog(7, () => 1, { ...start, lastIndex: 7 }, []);
    expect([none.lastEpoch, none.epochAt(7), none.epochAt(6)]).toEqual([3, 3, undefined]);
  });

  it('is durable up to the last entry whose record is, also across a truncation', () => {
    const { log, wal } = makeLog();
    append(log, 1, 3);
    expect(log.advanceDurable(2)).toBe(true);
    expect(log.durableIndex).toBe(2);
    log.truncate(1);
    expect(wal.at(-1)).toEqual({ type: 'truncate', partition: 7, index: 1 });
    expect(log.durableIndex).toBe(1);
    append(log, 2, 1);
    expect(log.advanceDurable(4)).toBe(false);
    expect(log.advanceDurable(5)).toBe(true);
    expect(log.durableIndex).toBe(2);
    expect(log.epochAt(2)).toBe(2);
  });

  it('refuses to truncate what is committed, and log time that goes back', () => {
    const { log } = makeLog();
    append(log, 1, 3);
    log.commitIndex = 2;
    expect(() => log.truncate(1)).toThrow(AssertionError);
    const entry = {
      epoch: 1,
      index: 4,
      timestamp: 3,
      ack: 'quorum' as const,
      requestId: null,
      command: { kind: 'tick' as const },
    };
    expect(() => log.append(1, encodeEntry(entry), entry)).toThrow(AssertionError);
  });

  it('evicts what is applied beyond its cache, and keeps the log time below', () => {
    const { log } = makeLog();
    append(log, 1, 200, 1_000);
    log.advanceDurable(200);
    log.commitIndex = 200;
    log.evict(150, 20_000);
    expect(log.firstInMemory).toBe(151);
    expect(log.weightBetween(0, 200)).toBe(log.weightBetween(150, 200));
    expect(log.weightBetween(150, 200)).toBeLessThan(80_000);
    expect(log.weightBetween(199, 200)).toBeGreaterThan(1_000);
    log.evict(200, 0);
    expect(log.firstInMemory).toBe(201);
    append(log, 1, 1);
    log.truncate(200);
    expect(log.lastTimestamp).toBe(1_200);
  });

  it('keeps a matching suffix behind a snapshot and drops any other', () => {
    const kept = makeLog().log;
    append(kept, 1, 10);
    kept.rebase(6, 1, 1_006);
    expect([kept.firstInMemory, kept.lastIndex, kept.commitIndex]).toEqual([7, 10, 6]);
    append(kept, 1, 2);
    expect(kept.weightBetween(6, 12)).toBe(6 * kept.weightBetween(11, 12));
    const dropped = makeLog().log;
    append(dropped, 1, 10);
    dropped.rebase(20, 3, 5_000);
    expect([dropped.lastIndex, dropped.durableIndex, dropped.lastEpoch]).toEqual([20, 20, 3]);
    expect(dropped.lastTimestamp).toBe(5_000);
  });
});
