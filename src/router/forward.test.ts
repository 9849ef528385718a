import { describe, expect, it } from 'vitest';
import { putRequest } from '../../test/support/wire.ts';
import type { Request } from '../common/wire/messages.ts';
import { createForward, detach, FORWARDS_MAX, forwardAgain } from './forward.ts';
import type { Route } from './routing.ts';

const sent = { attempts: 1, node: 'n1', epoch: 5, deadline: 1_000 };
const route = (node: string, epoch: number): Route => ({ node, address: '', epoch, recorded: true });

describe('forwardAgain', () => {
  it('goes to another leader at once, and waits for one when none is known', () => {
    expect(forwardAgain(sent, 6, route('n2', 6), 0)).toBe('now');
    expect(forwardAgain(sent, 5, null, 0)).toBe('now');
  });

  it('goes to the same node at once when it leads again in a newer epoch than it was sent for', () => {
    expect(forwardAgain(sent, 5, route('n1', 6), 0)).toBe('now');
  });

  it('goes to the same node after a moment while that has not heard of its epoch', () => {
    expect(forwardAgain(sent, 4, route('n1', 5), 0)).toBe('later');
  });

  it('ends with the refusal when the node knows everything that the router knows', () => {
    expect(forwardAgain(sent, 5, route('n1', 5), 0)).toBe('no');
  });

  it('ends after FORWARDS_MAX attempts, or when the time is nearly over', () => {
    expect(forwardAgain({ ...sent, attempts: FORWARDS_MAX }, 6, route('n2', 6), 0)).toBe('no');
    expect(forwardAgain(sent, 6, route('n2', 6), 998)).toBe('no');
  });
});

describe('createForward', () => {
  const owner = { answer: () => {}, replaced: () => {} };

  it('answers unsent requests a little before their deadline, and short ones at nine tenths', () => {
    const long = createForward(owner, { ...putRequest(1), timeLeftMs: 10_000 }, 0, 100);
    expect([long.deadline, long.heldUntil]).toEqual([10_100, 10_050]);
    const short = createForward(owner, { ...putRequest(1), timeLeftMs: 100 }, 0, 100);
    expect([short.deadline, short.heldUntil]).toEqual([200, 190]);
  });

  it('gives requests that name no time, or too much, a bounded one', () => {
    const none = createForward(owner, { ...putRequest(1), timeLeftMs: 0 }, 0, 0);
    const much = createForward(owner, { ...putRequest(1), timeLeftMs: 2 ** 32 - 1 }, 0, 0);
    expect([none.deadline, much.deadline]).toEqual([10_000, 300_000]);
  });

  it('keeps its own copy of the bytes once detached', () => {
    const message = Buffer.from('keyvalue');
    const request = {
      ...putRequest(1),
      key: message.subarray(0, 3),
      put: { value: message.subarray(3), codec: 1, ttlMs: 0 },
    };
    const forward = createForward(owner, request, 0, 0);
    detach(forward);
    message.fill(0);
    expect(Buffer.from(forward.request.key).toString()).toBe('key');
    expect(Buffer.from(forward.request.put?.value ?? []).toString()).toBe('value');
  });

  it('counts all that a batch holds, and keeps its own copy of that too', () => {
    const message = Buffer.from('keyvalue'.padEnd(100_008, 'v'));
    const item = {
      key: message.subarray(0, 3),
      operation: 'put' as const,
      put: { value: message.subarray(3), codec: 1, ttlMs: 0 },
    };
    const request: Request = {
      ...putRequest(1),
      operation: 'batch',
      put: null,
      batch: { items: [item, { ...item, key: message.subarray(0, 2) }] },
      idempotencyKey: message.subarray(0, 4),
    };
    const forward = createForward(owner, request, 0, 0);
    expect(forward.bytes).toBeGreaterThan(200_000);
    detach(forward);
    message.fill(0);
    const [first] = forward.request.batch!.items;
    expect(Buffer.from(first!.key).toString()).toBe('key');
    expect(Buffer.from(first!.put!.value).subarray(0, 5).toString()).toBe('value');
    expect(Buffer.from(forward.request.idempotencyKey!).toString()).toBe('keyv');
  });
});
