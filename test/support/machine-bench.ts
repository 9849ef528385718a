/**
 * A state machine over a map, for tests: entries are appended one by one, and what the machine asks of its store is carried
 * out when the test says so.
 */
import type { StoreEffect } from '../../src/node/core/effects.ts';
import {
  type Command,
  type Condition,
  type Entry,
  encodeEntry,
  NO_CONDITION,
  type RequestId,
} from '../../src/node/core/entry.ts';
import { EpochStarts } from '../../src/node/core/epoch-starts.ts';
import { userKey } from '../../src/node/core/layout.ts';
import { ReplicaLog } from '../../src/node/core/log.ts';
import { Machine } from '../../src/node/core/machine.ts';
import type { WriteResult } from '../../src/node/core/result.ts';
import { SaltSets } from '../../src/node/core/salt-sets.ts';
import { Sessions } from '../../src/node/core/sessions.ts';

/** A machine over a map, whose store effects are carried out when the test says so. */
export class MachineBench {
  readonly rows = new Map<string, Uint8Array>();
  readonly results: (WriteResult | null)[] = [];
  readonly damage: string[] = [];
  readonly log: ReplicaLog;
  readonly machine: Machine;
  private queue: StoreEffect[] = [];
  clientBytes = 0;
  /** Timestamp of the next entry, at least. */
  clock = 0;
  private lsn = 0;
  private sequence = 0;

  constructor() {
    const start = { baseIndex: 0, baseEpoch: 0, lastIndex: 0, commitIndex: 0, logTime: 0 };
    this.log = new ReplicaLog(1, () => ++this.lsn, start, []);
    const limits = { windowMs: 10_000, sequencesMax: 100, sessionsMax: 10 };
    const state = {
      mark: { index: 0, epoch: 0, logTime: 0 },
      sessions: new Sessions(limits),
      epochs: new EpochStarts(),
      salts: new SaltSets(),
      checkpointIndex: 0,
    };
    this.machine = new Machine(1, 1, state, {
      store: (effect) => this.queue.push(effect),
      read: (read) => this.queue.push(read),
      decided: (_entry, result) => this.results.push(result),
      applied: () => {},
      wrote: (bytes) => {
        this.clientBytes += bytes;
      },
      resume: () => this.advance(),
      damaged: (reason) => this.damage.push(reason),
      failed: (error) => {
        throw error;
      },
    });
  }

  /** Appends an entry; `requestId` null: one of the leader's own. */
  append(command: Command, requestId: Partial<RequestId> | null = {}): number {
    this.sequence++;
    const id =
      requestId === null
        ? null
        : { client: 'c'.repeat(16), sequence: this.sequence, lowWater: 1, sessionTime: 1, ...requestId };
    const index = this.log.lastIndex + 1;
    const timestamp = Math.max(index, this.clock, this.log.lastTimestamp);
    const entry: Entry = { epoch: 1, index, timestamp, ack: 'quorum', requestId: id, command };
    this.log.append(1, encodeEntry(entry), entry);
    return index;
  }

  advance(): void {
    this.machine.advance(this.log, this.log.lastIndex);
  }

  /** Carries out what the store was asked for, also what follows from it. */
  store(): void {
    for (let effect = this.queue.shift(); effect !== undefined; effect = this.queue.shift()) {
      if (effect.kind === 'write') {
        for (const { key, value } of effect.batch) {
          const name = Buffer.from(key).toString('latin1');
          if (value === null) this.rows.delete(name);
          else this.rows.set(name, value);
        }
        effect.done(null);
      } else if (effect.kind === 'get') {
        effect.done(null, this.rows.get(Buffer.from(effect.key).toString('latin1')));
      }
    }
  }

  read(name: string): unknown {
    let seen: unknown = 'no answer';
    this.machine.read(
      key(name),
      () => true,
      (error, stored) => {
        seen = error !== null ? error.code : stored === null ? null : Buffer.from(stored.value).toString();
      },
    );
    this.store();
    return seen;
  }
}

/** User key of the default keyspace. */
export const key = (name: string): Uint8Array => userKey('', Buffer.from(name));
/** A put of text. */
export const put = (
  name: string,
  value: string,
  condition: Condition = NO_CONDITION,
  codec = 2,
): Command => ({
  kind: 'put',
  key: key(name),
  codec,
  expiresAt: 0,
  value: Buffer.from(value),
  condition,
});
/** An increment without a time to live. */
export const increment = (name: string, delta: bigint): Command => ({
  kind: 'increment',
  key: key(name),
  delta,
  expiresAt: 0,
});
