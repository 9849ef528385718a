/**
 * What the client's tests share: a client that ends with its test, its error, and waiting for a condition.
 */
import { afterEach } from 'vitest';
import type { AdminTransport } from '../../src/client/admin.ts';
import { createClient, type RingkeepClient } from '../../src/client/client.ts';
import type { Transport } from '../../src/client/link.ts';
import type { ConnectOptions } from '../../src/client/options.ts';
import { RingkeepError } from '../../src/common/errors.ts';

const clients: RingkeepClient[] = [];

afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});

/** Creates a client that is destroyed after the test. */
export function clientFor(
  transport: Transport,
  target: string | ConnectOptions,
  options?: Partial<ConnectOptions>,
  admin?: AdminTransport,
): RingkeepClient {
  const client = createClient(transport, target, options, admin);
  clients.push(client);
  return client;
}

/** Resolves with what a promise was rejected with; fails if it was not, or not with a RingkeepError. */
export async function errorOf(promise: Promise<unknown>): Promise<RingkeepError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof RingkeepError) return error;
    throw error;
  }
  throw new Error('it should have been rejected');
}

/** Resolves with `CODE outcome` of a rejection. */
export async function endOf(promise: Promise<unknown>): Promise<string> {
  const { code, outcome } = await errorOf(promise);
  return `${code} ${outcome}`;
}

/** Waits until a condition holds; fails with `what` after 10 s. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
