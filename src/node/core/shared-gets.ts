/**
 * Gets that may be answered from the state, and wait for the end of the present event: those of one key are one read of the store. A hot key
 * is asked for many times in the same round of confirmations.
 * INVARIANT: a get never joins a read that the store may have begun: a write that was decided since would be missing.
 */
import { NO_BYTES, toLatin1 } from '../../common/bytes.ts';
import { RingkeepError } from '../../common/errors.ts';
import type { Value } from '../../common/wire/messages.ts';
import { failedRead, shown } from './answers.ts';
import type { RequestHandle } from './host.ts';
import type { StoredValue } from './layout.ts';
import type { Replica } from './replica.ts';
import type { SubSet } from './salt-sets.ts';

interface Waiting {
  readonly handle: RequestHandle;
  /** Age of the state that was good enough, which a stale read is told, ms. */
  readonly stalenessMs: number;
  /** It need not be linearizable. */
  readonly weak: boolean;
}

interface Group {
  readonly key: Uint8Array;
  readonly all: Waiting[];
}

const ABSENT = {
  found: false,
  value: NO_BYTES,
  codec: 0,
  version: 0,
  epoch: 0,
  expiresAt: 0,
  stalenessMs: 0,
};

/** The gets of one replica. */
export class SharedGets {
  private readonly replica: Replica;
  private groups = new Map<string, Group>();

  constructor(replica: Replica) {
    this.replica = replica;
  }

  /** Takes a get: the state of now is new enough for it. `weak`: it need not be linearizable. */
  add(handle: RequestHandle, key: Uint8Array, stalenessMs = 0, weak = false): void {
    const text = toLatin1(key);
    const group = this.groups.get(text);
    if (group === undefined) this.groups.set(text, { key, all: [{ handle, stalenessMs, weak }] });
    else group.all.push({ handle, stalenessMs, weak });
    this.replica.host.touch(this.replica.partition);
  }

  /** Reads each key once. */
  flush(): void {
    if (this.groups.size === 0) return;
    const { groups } = this;
    this.groups = new Map();
    for (const group of groups.values()) this.read(group);
  }

  private read({ key, all }: Group): void {
    const { host, partition, machine } = this.replica;
    const set = machine.salts.subSetOf(key);
    if (set !== null) return this.sum(key, set, all);
    const { revision } = machine.salts;
    host.hot.sharedReads += all.length - 1;
    const wanted = (): boolean => all.some(({ handle }) => host.isOpen(handle));
    machine.read(key, wanted, (error, stored) => {
      if (error !== null) {
        for (const { handle } of all) host.fail(handle, failedRead(partition, error));
        return;
      }
      // What was read may be a part of a counter that was salted meanwhile, or of one that is not any more.
      if (machine.salts.revision !== revision) return this.again(key, all);
      // What was read is as new as when it was asked for, perhaps newer, and not newer than what is decided by now.
      const found = this.valueOf(stored, machine.decidedIndex);
      found.salts = this.replica.leadership?.salts.of(key) ?? null;
      for (const { handle, stalenessMs } of all)
        host.reply(handle, { result: 'value', value: stalenessMs === 0 ? found : { ...found, stalenessMs } });
    });
  }

  private again(key: Uint8Array, all: readonly Waiting[]): void {
    for (const { handle, stalenessMs, weak } of all) this.add(handle, key, stalenessMs, weak);
  }

  /** Has the leader sum a salted counter up; a follower does not hear of all that sums have to show. */
  private sum(key: Uint8Array, set: SubSet, all: readonly Waiting[]): void {
    const { host, leadership, partition, record } = this.replica;
    if (leadership === null) {
      const leader = record?.leader?.node;
      const details = { partition, ...(leader === undefined ? {} : { leader }) };
      const error = new RingkeepError(
        'UNAVAILABLE',
        'a salted counter is read at its leader',
        'not_applied',
        details,
      );
      for (const { handle } of all) host.fail(handle, error);
      return;
    }
    for (const waiting of all) {
      const { handle, stalenessMs, weak } = waiting;
      leadership.counters.sums.add(key, set, weak, {
        deadline: handle.deadline,
        isWanted: () => host.isOpen(handle),
        answer: (value) => host.reply(handle, { result: 'value', value: { ...value, stalenessMs } }),
        again: () => this.again(key, [waiting]),
        fail: (error) => host.fail(handle, error),
      });
    }
  }

  /** What a reader is shown who is known to see everything up to `seenIndex`. */
  valueOf(stored: StoredValue | null, seenIndex: number): Value {
    const { partition } = this.replica;
    if (stored === null) return { ...ABSENT, partition, seenIndex };
    const { version, epoch, expiresAt } = stored;
    const { value, codec } = shown(stored);
    return { found: true, value, codec, version, epoch, partition, expiresAt, seenIndex, stalenessMs: 0 };
  }

  /** This replica answers nothing any more. */
  end(): void {
    const { groups } = this;
    this.groups = new Map();
    const { host, partition } = this.replica;
    for (const { all } of groups.values())
      for (const { handle } of all) host.fail(handle, failedRead(partition, null));
  }
}
