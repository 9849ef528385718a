import { describe, expect, it } from 'vitest';
import type { Keyspace, RingkeepClient } from '#src/client/index.ts';
import { readParameters } from '../workload/parameters.ts';
import { type Kind, Sequence } from '../workload/workload.ts';
import type { Slot } from './loop.ts';
import { createTarget, describeFailure } from './target.ts';

/** Runs one operation against a keyspace in memory; returns the code it has failed with, or what it has read. */
async function operate(
  kind: Kind,
  properties: Readonly<Record<string, string>>,
  change: (stored: Map<string, Uint8Array>, key: string) => void,
): Promise<unknown> {
  const { workload } = readParameters({ recordcount: '10', fieldlength: '10', ...properties });
  const sequence = new Sequence(workload, { part: 0, parts: 1, seed: 1, expected: 10 });
  const key = sequence.records.key(3);
  const stored = new Map([[key, sequence.value(key)]]);
  change(stored, key);
  const space = {
    get: async (name: string) => stored.get(name),
    put: async (name: string, value: Uint8Array) => void stored.set(name, value),
  } as unknown as Keyspace<Uint8Array>;
  const client = {} as RingkeepClient;
  const shape = {
    table: 't',
    partitions: 4,
    valueBytes: 100,
    read: 'linearizable',
    tellPartition: false,
  } as const;
  const issue = createTarget({ client, space, sequence, ...shape });
  return new Promise((resolve) => {
    issue({
      planned: { kind, record: 3, scanLength: 0 },
      partition: -1,
      succeed: () => resolve('done'),
      read: (value) => resolve(value === undefined ? 'nothing' : 'read'),
      fail: (error) => resolve(describeFailure(error).code),
    } satisfies Slot);
  });
}

describe('createTarget', () => {
  const checked = { dataintegrity: 'true' };
  const keep = () => {};

  it('fails a read of anything but the value of its key, or of nothing, with dataintegrity', async () => {
    expect(await operate('READ', checked, keep)).toBe('read');
    expect(await operate('READ', checked, (stored, key) => stored.delete(key))).toBe('WRONG_VALUE');
    const spoil = (stored: Map<string, Uint8Array>, key: string) => stored.set(key, new Uint8Array(100));
    expect(await operate('READ', checked, spoil)).toBe('WRONG_VALUE');
    expect(await operate('READ-MODIFY-WRITE', checked, spoil)).toBe('WRONG_VALUE');
    expect(await operate('READ-MODIFY-WRITE', checked, keep)).toBe('done');
  });

  it('takes what it reads as it is without', async () => {
    expect(await operate('READ', {}, (stored, key) => stored.delete(key))).toBe('nothing');
    expect(await operate('READ', {}, (stored, key) => stored.set(key, new Uint8Array(1)))).toBe('read');
  });
});
