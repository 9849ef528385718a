import { afterEach, expect, it } from 'vitest';
import { listen, recorder } from '../../test/support/wire.ts';
import type { WireServer } from '../common/wire/server.ts';
import { askSalts, saltsTable, showSalts } from './shown-salts.ts';

let server: WireServer | null = null;
afterEach(async () => {
  await server?.stop(0);
  server = null;
});

it('finds no salted keys in a cluster that does not know of any, and where nobody answers', async () => {
  server = await listen({ keyValue: recorder(() => undefined) });
  const flags = { url: `ringkeep://${server.address}`, timeout: 1_000, json: false };
  expect(await askSalts(flags)).toEqual([]);
  await server.stop(0);
  expect(await askSalts(flags)).toEqual([]);
});

it('shows keys that are no text as bytes', () => {
  const salted = {
    ...{ keyspace: '', key: Buffer.of(255), partition: 5, node: '', waitingWrites: 0, automatic: true },
    copies: [],
  };
  expect(showSalts([salted])[0]!.key).toEqual({ $base64: '/w==' });
  expect(saltsTable([salted]).split('\n')[1]).toContain('{"$base64":"/w=="}');
});
