import { describe, expect, it } from 'vitest';
import { type Command, encodeEntry, NO_CONDITION } from './entry.ts';
import { ReplicaLog } from './log.ts';
import { PendingKeys } from './pending-keys.ts';

const key = (name: string): Buffer => Buffer.from(name);

function makeLog() {
  const start = { baseIndex: 0, baseEpoch: 0, lastIndex: 0, commitIndex: 0, logTime: 0 };
  const log = new ReplicaLog(1, () => 1, start, []);
  const append = (epoch: number, command: Command): void => {
    const rest = { timestamp: 1_000, ack: 'quorum' as const, requestId: null };
    const entry = { epoch, index: log.lastIndex + 1, ...rest, command };
    log.append(epoch, encodeEntry(entry), entry);
  };
  const remove = (epoch: number, name: string): void =>
    append(epoch, { kind: 'delete', key: key(name), condition: NO_CONDITION });
  return { log, append, remove, pending: new PendingKeys(log) };
}

describe('the keys of undecided entries', () => {
  it('are found under the newest entry that touches them, and not once that is decided', () => {
    const { remove, append, pending } = makeLog();
    remove(1, 'a');
    remove(1, 'b');
    remove(1, 'a');
    expect([pending.newestOf(key('a'), 0), pending.newestOf(key('b'), 0)]).toEqual([3, 2]);
    expect([pending.newestOf(key('a'), 2), pending.newestOf(key('b'), 2)]).toEqual([3, 0]);
    append(1, { kind: 'expireKeys', due: [{ key: key('b'), expiresAt: 5 }] });
    append(1, { kind: 'tick' });
    expect([pending.newestOf(key('a'), 3), pending.newestOf(key('b'), 3)]).toEqual([0, 4]);
    expect(pending.newestOf(key('c'), 3)).toBe(0);
  });

  it('are forgotten with what is truncated, also when as many other entries have come since', () => {
    const { log, remove, pending } = makeLog();
    remove(1, 'a');
    remove(1, 'b');
    expect(pending.newestOf(key('b'), 0)).toBe(2);
    log.truncate(1);
    remove(2, 'c');
    expect(['a', 'b', 'c'].map((name) => pending.newestOf(key(name), 0))).toEqual([1, 0, 2]);
  });
});
