import { expect, it } from 'vitest';
import { RingkeepError } from '../common/errors.ts';
import type { HotReply } from '../common/wire/admin-messages.ts';
import { ClientAdmin } from './admin.ts';

const NOTHING: HotReply = { seconds: 10, reads: 1, writes: 0, keys: [], partitions: [], nodes: [] };
const NODE = { node: 'n1', reads: 1, writes: 0, problem: '' };

/** An administration whose endpoints answer so; remembers whom it asked. */
function admin(answers: Readonly<Record<string, HotReply | 'away'>>): {
  asked: string[];
  admin: ClientAdmin;
} {
  const asked: string[] = [];
  const transport = {
    hot: async (address: string, _hello: unknown, limit: number, timeoutMs: number): Promise<HotReply> => {
      asked.push(`${address} ${limit} ${timeoutMs}`);
      const answer = answers[address]!;
      if (answer === 'away') throw new RingkeepError('UNAVAILABLE', `${address} is away`);
      return answer;
    },
  };
  return {
    asked,
    admin: new ClientAdmin({ transport, endpoints: Object.keys(answers), requestTimeoutMs: 700 }),
  };
}

it('believes the first router that answers', async () => {
  const { asked, admin: one } = admin({ a: 'away', b: { ...NOTHING, nodes: [NODE] }, c: NOTHING });
  expect((await one.hot({ limit: 3 })).nodes).toEqual([{ ...NODE, share: 1 }]);
  expect(asked).toEqual(['a 3 700', 'b 3 700']);
});

it('adds up what nodes say where there is no router among the endpoints', async () => {
  const { admin: one } = admin({ a: NOTHING, b: 'away', c: NOTHING });
  const figures = await one.hot({ timeoutMs: 5 });
  expect(figures.reads).toBe(2);
  expect(figures.nodes.map(({ node, problem }) => `${node} ${problem}`)).toEqual([
    'a ',
    'b UNAVAILABLE: b is away',
    'c ',
  ]);
});

it('rejects where nobody answers, and what is no limit', async () => {
  const { admin: one } = admin({ a: 'away', b: 'away' });
  await expect(one.hot()).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'UNAVAILABLE: b is away' });
  for (const limit of [0, 1.5, 1_001, Number.NaN])
    await expect(one.hot({ limit })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});
