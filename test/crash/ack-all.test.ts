/** A write at `all` while one voter is stopped: it is in effect, ends at its deadline, and says how far it has come. */
import { expect, it, onTestFinished } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { ledBy, startCluster } from '../support/processes.ts';

const TIMEOUT_MS = 1_500;

it('a write at all with a voter down ends as ACK_NOT_REACHED, with a receipt of what was reached', async () => {
  const cluster = await startCluster({ partitions: 1 });
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  await client.put('k', 0, { ack: 'all' });
  const topology = await cluster.whenHealthy();
  const follower = cluster.nodes.find(({ name }) => ledBy(topology, name).length === 0)!;
  follower.signal('SIGSTOP');
  try {
    for (const write of [
      () => client.put('k', 1, { ack: 'all', timeoutMs: TIMEOUT_MS }),
      () =>
        client.batch([{ type: 'put', key: 'k', value: 1, ifExists: true }], {
          ack: 'all',
          timeoutMs: TIMEOUT_MS,
        }),
    ]) {
      const calledAt = performance.now();
      const error = await write().then(
        () => null,
        (failure: unknown) => failure,
      );
      expect(error).toBeInstanceOf(RingkeepError);
      expect(error).toMatchObject({ code: 'ACK_NOT_REACHED', outcome: 'applied', reached: 2, voters: 3 });
      expect(performance.now() - calledAt).toBeLessThan(TIMEOUT_MS + 500);
      const entry = await client.getEntry('k');
      expect(entry).toMatchObject({ value: 1, version: (error as RingkeepError).version });
    }
    // What has written nothing need not be anywhere.
    const refused = await client.put('k', 2, { ack: 'all', ifAbsent: true, timeoutMs: TIMEOUT_MS });
    expect(refused.applied).toBe(false);
  } finally {
    follower.signal('SIGCONT');
  }
  expect((await client.put('k', 3, { ack: 'all' })).durability).toBe('all');
});
