/** Gets of salted keys through a router, over real connections to scripted nodes. */
import { afterEach, expect, it } from 'vitest';
import { found, get, ProxyUnderTest, put, refusal } from '../../test/support/router.ts';
import { receiptReply, until } from '../../test/support/wire.ts';
import { SALT_PROTOCOL } from '../common/limits.ts';
import { QUORUM_GET } from '../common/reads.ts';
import type { Reply, Request } from '../common/wire/messages.ts';

let router: ProxyUnderTest;
afterEach(() => router.stop());

type Answer = (request: Request) => Reply | undefined;

/** What the leader of a salted key's home says. */
function told(request: Request, partitions: readonly number[]): Reply {
  const reply = found(request);
  reply.value!.salts = { partitions: [...partitions] };
  return reply;
}

/** Partition 0 is led by n1, partition 1 by n2, 2 by n3, 3 by n1; the key of partition 0 has copies in `copies`. */
class Salted {
  copies: readonly number[] = [1, 2];
  answers: Record<string, Answer> = {};
  readonly seen: Record<string, Request[]> = { n1: [], n2: [], n3: [] };
  client!: ReturnType<ProxyUnderTest['client']>;
  #id = 0;

  static async start(options: Parameters<typeof ProxyUnderTest.start>[0] = {}): Promise<Salted> {
    const salted = new Salted();
    router = await ProxyUnderTest.start(options);
    for (const id of ['n1', 'n2', 'n3']) await router.node(id, (request) => salted.#answer(id, request));
    router.apply(['n1', 'n2', 'n3', 'n1']);
    await until(() => router.proxy.stats().nodes.every(({ connected }) => connected), 'the nodes');
    salted.client = router.client();
    return salted;
  }

  #answer(node: string, request: Request): Reply | undefined {
    this.seen[node]!.push(request);
    const own = this.answers[node];
    if (own !== undefined) return own(request);
    if (request.operation !== 'get') return receiptReply(request);
    return request.saltIn ? found(request) : told(request, this.copies);
  }

  /** Sends a get; returns its id. */
  send(changes: Partial<Request> = {}): number {
    this.#id += 1;
    this.client.session.send(get(this.#id, 0, changes));
    return this.#id;
  }

  async reply(id: number): Promise<Reply> {
    await until(() => this.client.replies.has(id), `a reply to ${id}`);
    return this.client.replies.get(id)!;
  }

  /** Gets, one after the other. */
  async read(times: number, changes: Partial<Request> = {}): Promise<void> {
    for (let n = 0; n < times; n += 1) expect((await this.reply(this.send(changes))).result).toBe('value');
  }

  counts(): number[] {
    return ['n1', 'n2', 'n3'].map((node) => this.seen[node]!.length);
  }

  /** Forgets what was seen. */
  reset(): void {
    for (const list of Object.values(this.seen)) list.length = 0;
  }
}

it('sends linearizable gets of a key whose home names copies there too, and nothing else', async () => {
  const salted = await Salted.start();
  await salted.read(60);
  for (const count of salted.counts()) expect(count).toBeGreaterThan(5);
  expect(new Set(salted.seen.n1!.map(({ saltIn }) => saltIn))).toEqual(new Set([0]));
  expect(new Set(salted.seen.n2!.map(({ saltIn }) => saltIn))).toEqual(new Set([2]));
  expect(new Set(salted.seen.n3!.map(({ saltIn }) => saltIn))).toEqual(new Set([3]));
  const { saltedReads, saltedReadsHome } = router.proxy.counters;
  expect(saltedReads).toBe(salted.seen.n2!.length + salted.seen.n3!.length);
  expect(saltedReadsHome).toBe(0);
  // Clients are told, whoever has answered.
  expect(salted.client.replies.get(60)!.value!.salts).toMatchObject({ partitions: [1, 2] });
  salted.reset();
  // Another key, another keyspace, a second attempt, a write.
  await salted.read(3, { keyspace: 'other', key: Buffer.from('key-of-no-copy'), attempt: 2 });
  await salted.read(5, { attempt: 2 });
  salted.client.session.send(put(1_000, 0));
  expect((await salted.reply(1_000)).result).toBe('receipt');
  for (const seen of Object.values(salted.seen).flat()) expect(seen.saltIn).toBe(0);
});

it('takes no word of a client for where to read', async () => {
  const salted = await Salted.start();
  salted.copies = [];
  await salted.read(5, { saltIn: 2 });
  await salted.read(5, { saltIn: 2, get: QUORUM_GET });
  salted.client.session.send(put(1_000, 0, { saltIn: 2 }));
  await salted.reply(1_000);
  const all = Object.values(salted.seen).flat();
  expect(all).toHaveLength(11);
  for (const { saltIn, beside } of all) expect([saltIn, beside]).toEqual([0, 0]);
});

it('sends increments of sub-counters where their clients have pinned them, also to another leader, and nowhere else', async () => {
  const salted = await Salted.start();
  const increment = { delta: 1, ttlMs: 0, unread: true };
  const sub = { operation: 'increment' as const, put: null, increment, saltIn: 2, saltSet: 7 };
  salted.client.session.send(put(1_000, 0, sub));
  expect((await salted.reply(1_000)).result).toBe('receipt');
  expect(salted.counts()).toEqual([0, 1, 0]);
  expect(salted.seen.n2![0]).toMatchObject({ saltIn: 2, saltSet: 7 });
  salted.answers.n2 = (request) => refusal(request, { leader: 'n3', epoch: 9, partition: 1 });
  salted.client.session.send(put(1_001, 0, sub));
  expect((await salted.reply(1_001)).result).toBe('receipt');
  expect(salted.seen.n3![0]).toMatchObject({ saltIn: 2, saltSet: 7 });
  // Where it may have counted, nobody else is asked.
  salted.answers.n3 = () => undefined;
  salted.client.session.send(put(1_003, 0, sub));
  await until(() => salted.seen.n3!.length === 2, 'the increment');
  await router.stopNode('n3');
  expect((await salted.reply(1_003)).failure).toMatchObject({ code: 'UNAVAILABLE', outcome: 'unknown' });
  expect(salted.counts()).toEqual([0, 2, 2]);
  salted.client.session.send(put(1_002, 0, { ...sub, saltIn: 200 }));
  expect((await salted.reply(1_002)).failure?.code).toBe('INVALID_ARGUMENT');
});

it('sends increments of sub-counters to no node that speaks an earlier protocol', async () => {
  const salted = await Salted.start({ protocolMax: SALT_PROTOCOL - 1 });
  const increment = { delta: 1, ttlMs: 0, unread: true };
  const sub = { operation: 'increment' as const, put: null, increment, saltIn: 2, saltSet: 7 };
  salted.client.session.send(put(1_000, 0, sub));
  const { failure } = await salted.reply(1_000);
  expect(failure).toMatchObject({ code: 'UNAVAILABLE', outcome: 'not_applied' });
  expect(failure!.message).toContain('node n2 speaks an earlier protocol');
  expect(salted.counts()).toEqual([0, 0, 0]);
  salted.client.session.send(put(1_001, 0, { operation: 'increment', put: null, increment }));
  expect((await salted.reply(1_001)).result).toBe('receipt');
  expect(router.proxy.stats()).toMatchObject({ requests: 0, requestBytes: 0 });
});

it('asks no copy any more when the home names none', async () => {
  const salted = await Salted.start();
  await salted.read(20);
  salted.copies = [];
  const home = salted.seen.n1!.length;
  for (let n = 0; n < 200 && salted.seen.n1!.length === home; n += 1) await salted.read(1);
  salted.reset();
  await salted.read(20);
  expect(salted.counts()).toEqual([20, 0, 0]);
});

it('sends home at once what a copy refuses, and asks it no more until the home names it again', async () => {
  const salted = await Salted.start();
  salted.copies = [1];
  let refused = 0;
  salted.answers.n2 = (request) => {
    refused += 1;
    return refusal(request, { partition: 0 });
  };
  for (let n = 0; n < 200 && refused === 0; n += 1) await salted.read(1);
  expect(refused).toBe(1);
  expect(router.proxy.counters).toMatchObject({ saltedReads: 1, saltedReadsHome: 1, forwardedAgain: 0 });
  expect(salted.seen.n1!.at(-1)!.saltIn).toBe(0);
  expect(salted.seen.n1!.at(-1)!.timeLeftMs).toBeGreaterThan(8_000);
});

it('tells its client what a copy says that has too much to do', async () => {
  const salted = await Salted.start();
  salted.copies = [1];
  salted.answers.n2 = (request) => refusal(request, { code: 'OVERLOADED', retryAfterMs: 7 });
  const codes: (string | undefined)[] = [];
  for (let n = 0; n < 200 && salted.seen.n2!.length === 0; n += 1)
    codes.push((await salted.reply(salted.send())).failure?.code);
  expect(codes.at(-1)).toBe('OVERLOADED');
});

/** Has a get stay open at n2. Returns its id. */
async function stuckAt(salted: Salted): Promise<number> {
  salted.copies = [1];
  salted.answers.n2 = () => undefined;
  for (let n = 0; n < 200; n += 1) {
    const id = salted.send();
    const { length } = salted.seen.n1!;
    await until(() => salted.client.replies.has(id) || salted.seen.n2!.length > 0, 'it is somewhere');
    if (salted.seen.n2!.length > 0) return id;
    expect(salted.seen.n1!.length).toBeGreaterThanOrEqual(length);
  }
  throw new Error('no get went to the copy');
}

it('leaves a copy whose leader does not answer alone, and asks the home when another one leads there', async () => {
  const salted = await Salted.start();
  const id = await stuckAt(salted);
  await salted.read(30);
  expect(salted.seen.n2).toHaveLength(1);
  // The home's leader is another one: what is at the copy stays there.
  router.apply(['n3', 'n2', 'n3', 'n1'], 2);
  await salted.read(1);
  expect(salted.client.replies.has(id)).toBe(false);
  router.apply(['n3', 'n3', 'n3', 'n1'], 3);
  expect((await salted.reply(id)).result).toBe('value');
  expect(salted.seen.n3!.at(-1)).toMatchObject({ saltIn: 0 });
  expect(router.proxy.counters.saltedReadsHome).toBe(1);
  // The old one is counted until its node has ended it.
  await until(() => router.proxy.stats().requests === 1, 'the old one is left');
});

it('asks the home when the connection to a copy breaks', async () => {
  const salted = await Salted.start();
  const id = await stuckAt(salted);
  const home = salted.seen.n1!.length;
  await router.stopNode('n2');
  expect((await salted.reply(id)).result).toBe('value');
  expect(salted.seen.n1!.length).toBe(home + 1);
  await salted.read(20);
  expect(router.proxy.stats().requests).toBe(0);
});

it('sends a second attempt elsewhere than the one beside it, and those on that wait for it', async () => {
  const salted = await Salted.start();
  const id = await stuckAt(salted);
  // What is nobody's second attempt makes no difference.
  expect((await salted.reply(salted.send({ beside: 4_711 }))).result).toBe('value');
  // Where it goes there may be more to do.
  salted.answers.n1 = (request) => (request.operation === 'put' ? undefined : told(request, [1]));
  for (let other = 1_001; other <= 1_003; other += 1) salted.client.session.send(put(other, 0));
  await until(() => salted.seen.n1!.filter(({ put: open }) => open).length === 3, 'n1 has more to do');
  for (let n = 0; n < 10; n += 1) {
    salted.reset();
    expect((await salted.reply(salted.send({ beside: id }))).result).toBe('value');
    expect(salted.counts()).toEqual([1, 0, 0]);
    expect(salted.seen.n1![0]!.beside).toBe(0);
  }
  salted.client.session.cancel(id);
  await until(() => router.proxy.stats().nodes.length === 3, 'it is cancelled');
});

it('does not let gets of a key wait for those that are stuck, once one of these is asked for again', async () => {
  const salted = await Salted.start();
  salted.copies = [1];
  salted.answers.n1 = () => undefined;
  salted.answers.n2 = () => undefined;
  const first = [salted.send(), salted.send(), salted.send(), salted.send()];
  await until(() => salted.counts()[0] === 4, 'as many as go by themselves');
  const waiting = [salted.send(), salted.send()];
  await until(() => router.proxy.stats().requests === 6, 'two wait');
  salted.answers = {};
  await salted.reply(salted.send({ beside: first[0]! }));
  for (const id of waiting) expect((await salted.reply(id)).result).toBe('value');
  expect(salted.seen.n1!.map(({ sharedReads }) => sharedReads)).toContain(1);
});

it('has reads go to the others when the way to a copy is full, and refuses them only when all are', async () => {
  const salted = await Salted.start({ limits: { nodeRequestsMax: 3 } });
  await salted.read(1);
  // Three writes that stay open fill the way to n2; the copies of the key are there and at n3.
  salted.answers.n2 = () => undefined;
  for (let id = 1_001; id <= 1_003; id += 1) salted.client.session.send(put(id, 1));
  await until(() => salted.seen.n2!.length === 3, 'n2 has as much as it takes');
  await salted.read(60);
  expect(salted.seen.n2).toHaveLength(3);
  expect(Math.min(salted.seen.n1!.length, salted.seen.n3!.length)).toBeGreaterThan(10);
  salted.answers.n1 = () => undefined;
  for (let id = 1_004; id <= 1_006; id += 1) salted.client.session.send(put(id, 0));
  await until(() => router.proxy.stats().nodes[0]!.sent === 3, 'n1 has as much as it takes');
  await salted.read(20);
  expect(salted.seen.n3!.slice(-20).map(({ saltIn }) => saltIn)).toEqual(new Array(20).fill(3));
});

it('gives a copy that is paused no more than what waits elsewhere', async () => {
  const salted = await Salted.start();
  await salted.read(1);
  salted.answers.n2 = () => undefined;
  salted.reset();
  const ids: number[] = [];
  for (let n = 0; n < 50; n += 1) {
    for (let at = 0; at < 3; at += 1) ids.push(salted.send());
    const isSettled = (): boolean =>
      ids.filter((id) => salted.client.replies.has(id)).length + salted.seen.n2!.length === ids.length;
    await until(isSettled, 'all but those at the paused one are answered');
  }
  expect(salted.seen.n2!.length).toBeLessThanOrEqual(2);
  expect(Math.min(salted.seen.n1!.length, salted.seen.n3!.length)).toBeGreaterThan(30);
});
