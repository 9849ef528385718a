import { describe, expect, it } from 'vitest';
import type { RequestHandle } from './host.ts';
import { OpenRequests } from './open-requests.ts';

const handle = (connection: number, id: number, bytes = 10): RequestHandle => ({
  connection,
  id,
  bytes,
  deadline: 0,
});

describe('open requests', () => {
  it('are bounded in number and bytes over all connections, and a closed one makes room', () => {
    const requests = new OpenRequests(3, 100);
    const big = handle(1, 1, 60);
    expect(requests.open(big)).toBe(true);
    expect(requests.open(handle(2, 1, 60))).toBe(false);
    expect(requests.open(handle(2, 1, 20))).toBe(true);
    expect(requests.open(handle(2, 2, 20))).toBe(true);
    expect(requests.open(handle(3, 1, 0))).toBe(false);
    expect(requests.close(big)).toBe(true);
    requests.closeConnection(2);
    expect(requests.size).toBe(0);
    expect(requests.open(handle(3, 1, 100))).toBe(true);
  });

  it('are answered once, and an id used again gets nothing of its past', () => {
    const requests = new OpenRequests(10, 1_000);
    const first = handle(1, 7);
    expect(requests.open(first)).toBe(true);
    expect(requests.open(handle(1, 7))).toBe(false);
    expect(requests.find(1, 7)).toBe(first);
    // Cancelled, and the client takes the id for something else before the first one is decided.
    expect(requests.close(first)).toBe(true);
    const second = handle(1, 7);
    expect(requests.open(second)).toBe(true);
    expect(requests.close(first)).toBe(false);
    expect(requests.close(second)).toBe(true);
    expect(requests.close(second)).toBe(false);
    expect(requests.size).toBe(0);
  });
});
