import { describe, expect, it } from 'vitest';
import { Outbox } from './outbox.ts';

interface Sent {
  items: number[];
  taken: () => void;
}

/** An outbox of numbers that count as their own size. */
function harness(
  options: { bytesMax?: number; messageBytes?: number; messageItems?: number; held?: boolean } = {},
) {
  const sent: Sent[] = [];
  let takenCalls = 0;
  const outbox = new Outbox<number>({
    sizeOf: (item) => item,
    write: (items, taken) => sent.push({ items, taken }),
    onTaken: () => {
      takenCalls += 1;
    },
    bytesMax: 1000,
    ...options,
  });
  return { outbox, sent, takenCalls: () => takenCalls };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('Outbox', () => {
  it('sends what was pushed in one turn as one message, in order', async () => {
    const { outbox, sent } = harness();
    for (const item of [1, 2, 3]) expect(outbox.push(item)).toBe(true);
    expect(sent).toHaveLength(0);
    await turn();
    expect(sent.map((message) => message.items)).toEqual([[1, 2, 3]]);
  });

  it('closes a message at its byte and item targets, but sends a long item alone', async () => {
    const { outbox, sent } = harness({ messageBytes: 10, messageItems: 3 });
    for (const item of [4, 4, 4, 50, 1, 1, 1, 1]) outbox.push(item);
    await turn();
    for (let at = 0; at < sent.length; at += 1) sent[at]?.taken();
    expect(sent.map((message) => message.items)).toEqual([[4, 4], [4], [50], [1, 1, 1], [1]]);
  });

  it('keeps at most two messages with the transport and lets the rest grow together', async () => {
    const { outbox, sent } = harness();
    for (const item of [1, 2, 3, 4]) {
      outbox.push(item);
      await turn();
    }
    expect(sent.map((message) => message.items)).toEqual([[1], [2]]);
    sent[0]?.taken();
    expect(sent.map((message) => message.items)).toEqual([[1], [2], [3, 4]]);
  });

  it('counts bytes until the transport has taken them, and refuses beyond the bound', async () => {
    const { outbox, sent, takenCalls } = harness({ bytesMax: 100 });
    expect(outbox.push(60)).toBe(true);
    expect(outbox.push(50)).toBe(false);
    await turn();
    expect(outbox.bytes).toBe(60);
    expect(outbox.push(50)).toBe(false);
    sent[0]?.taken();
    sent[0]?.taken();
    expect(takenCalls()).toBe(1);
    expect(outbox.bytes).toBe(0);
    expect(outbox.push(50)).toBe(true);
  });

  it('takes one item longer than the bound when it is empty', () => {
    const { outbox } = harness({ bytesMax: 10 });
    expect(outbox.push(50)).toBe(true);
    expect(outbox.push(1)).toBe(false);
    outbox.pushUnbounded(1);
    expect(outbox.bytes).toBe(51);
  });

  it('refuses an item that no message can carry', () => {
    const { outbox } = harness({ bytesMax: Number.POSITIVE_INFINITY });
    expect(() => outbox.push(17 * 1024 * 1024)).toThrow('MESSAGE_TOO_LARGE');
  });

  it('holds everything until it is released', async () => {
    const { outbox, sent } = harness({ held: true });
    outbox.push(1);
    await turn();
    expect(sent).toHaveLength(0);
    outbox.release();
    await turn();
    expect(sent).toHaveLength(1);
  });

  it('flushes everything at once on demand, and drops everything when closed', async () => {
    const { outbox, sent } = harness({ messageItems: 1 });
    for (const item of [1, 2, 3, 4]) outbox.push(item);
    outbox.flushAll();
    expect(sent).toHaveLength(4);
    outbox.push(5);
    outbox.close();
    await turn();
    expect(sent).toHaveLength(4);
    expect(outbox.bytes).toBe(0);
    expect(outbox.push(6)).toBe(false);
    sent[0]?.taken();
    expect(outbox.bytes).toBe(0);
  });
});
