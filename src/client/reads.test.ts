/** Read levels as callers see them: what is asked of whom, and second attempts beside slow ones, over the in-memory wire. */
import { describe, expect, it } from 'vitest';
import { clientFor, endOf, errorOf, until } from '../../test/support/client-fixtures.ts';
import {
  nodeRecord,
  partitionRecord,
  refusal,
  type Script,
  ScriptedNetwork,
  ScriptedServer,
  StoreModel,
  topologyOf,
} from '../../test/support/client-network.ts';
import type { HistoryEvent } from '../common/history.ts';
import type { Request } from '../common/wire/messages.ts';
import type { ReadOptions } from './options.ts';

const PARTITIONS = 8;
const NODES = ['n1', 'n2', 'n3'];

/** Three nodes that vote for everything and answer everything; n1 leads. */
function setUp(scripts: Readonly<Record<string, Script>> = {}) {
  const model = new StoreModel(PARTITIONS);
  const router = new ScriptedServer('r:1');
  const nodes = NODES.map((id) => new ScriptedServer(`${id}.test:1`, 'node', id));
  const network = new ScriptedNetwork().add(router, ...nodes);
  for (const server of [router, ...nodes]) {
    server.script =
      scripts[server.nodeId] ??
      ((request, session) => session.reply(model.execute(request, session.clientId)));
  }
  const voters = NODES.map((id) => ({ id: `${id}.replica`, node: id }));
  const records = Array.from({ length: PARTITIONS }, (_, partition) => ({
    ...partitionRecord(partition, 5, 'n1'),
    voters,
  }));
  for (const server of [router, ...nodes]) server.push(topologyOf(NODES.map(nodeRecord), records));
  const events: HistoryEvent[] = [];
  const recorder = (event: HistoryEvent): void => void events.push(event);
  const direct = clientFor(network.transport, { endpoints: ['r:1'], mode: 'direct', recorder });
  const routed = clientFor(network.transport, { endpoints: ['r:1'], recorder });
  return { router, nodes, direct, routed, events };
}

const getsOf = (server: ScriptedServer): Request[] =>
  server.requests.filter(({ operation }) => operation === 'get');

describe('a read level', () => {
  it('is told to who answers, and stands in the history', async () => {
    const { direct, routed, nodes, router, events } = setUp();
    await routed.put('k', 1);
    for (const db of [direct, routed]) {
      await db.get('k');
      await db.get('k', { read: 'quorum' });
      await db.get('k', { read: 'session' });
      await db.get('k', { read: 'stale', maxStalenessMs: 70 });
    }
    const asked = [...getsOf(router), ...nodes.flatMap(getsOf)].map(({ get }) => get!);
    const levels = asked.map(({ level }) => level).sort();
    const each = ['READ_LINEARIZABLE', 'READ_QUORUM', 'READ_SESSION', 'READ_STALE'];
    expect(levels).toEqual(each.flatMap((level) => [level, level]));
    expect(asked.filter(({ level }) => level === 'READ_STALE').map((get) => get.maxStalenessMs)).toEqual([
      70, 70,
    ]);
    const told = events.filter(({ op }) => op === 'get').map(({ level }) => level);
    expect(told.slice(0, 4)).toEqual([undefined, 'quorum', 'session', 'stale']);
  });

  it('of any voter spreads the reads over all of them; linearizable ones go to the leader', async () => {
    const { direct, nodes } = setUp();
    for (let at = 0; at < 30; at++) await direct.get('k', { read: 'stale' });
    for (const node of nodes) expect(getsOf(node).length, node.nodeId).toBeGreaterThan(2);
    const before = getsOf(nodes[0]!).length;
    for (let at = 0; at < 5; at++) await direct.get('k');
    expect(getsOf(nodes[0]!).length).toBe(before + 5);
  });

  it('is refused early if it makes no sense', async () => {
    const { direct, router } = setUp();
    const bad: unknown[] = [
      { read: 'dirty' },
      { read: 5 },
      { read: 'toString' },
      { maxStalenessMs: 5 },
      { read: 'quorum', maxStalenessMs: 5 },
      { read: 'stale', maxStalenessMs: 0 },
      { read: 'stale', maxStalenessMs: 1.5 },
      { read: 'session', session: {} },
      { ack: 'all' },
    ];
    for (const options of bad) {
      expect(await endOf(direct.get('k', options as ReadOptions)), JSON.stringify(options)).toBe(
        'INVALID_ARGUMENT not_applied',
      );
    }
    expect(router.requests).toEqual([]);
  });
});

describe('an attempt that is not answered', () => {
  it('is asked again elsewhere, and the first answer counts', async () => {
    const { direct, nodes } = setUp({ n2: () => {} });
    const silent = nodes[1]!;
    for (let at = 0; at < 200 && getsOf(silent).length === 0; at++) {
      const startedAt = performance.now();
      expect(await direct.get('k', { read: 'quorum' })).toBeUndefined();
      expect(performance.now() - startedAt).toBeLessThan(1_000);
    }
    expect(getsOf(silent)).toHaveLength(1);
    await until('the slow one to be told', () => silent.cancels.length === 1);
    // What it holds counts as load: it is left alone.
    for (let at = 0; at < 50; at++) await direct.get('k', { read: 'quorum' });
    expect(getsOf(silent)).toHaveLength(1);
  });

  it('stays the only one of a linearizable read and of a write', async () => {
    const { direct, nodes } = setUp({ n1: () => {} });
    const ends = [direct.get('k', { timeoutMs: 150 }), direct.put('k', 1, { timeoutMs: 150 })];
    expect(await Promise.all(ends.map(endOf))).toEqual([
      'DEADLINE_EXCEEDED not_applied',
      'DEADLINE_EXCEEDED unknown',
    ]);
    expect(nodes.slice(1).flatMap(({ requests }) => requests)).toEqual([]);
  });

  it('ends with its time if nobody answers, and leaves nothing behind', async () => {
    const silent: Script = () => {};
    const { direct, nodes } = setUp({ n1: silent, n2: silent, n3: silent });
    expect(await endOf(direct.get('k', { read: 'stale', timeoutMs: 300 }))).toBe(
      'DEADLINE_EXCEEDED not_applied',
    );
    const asked = nodes.flatMap(getsOf).length;
    expect(asked).toBeGreaterThanOrEqual(2);
    await until('all to be cancelled', () => nodes.flatMap(({ cancels }) => cancels).length === asked);
    await direct.close();
  });

  it('of a refusal beside it hears nothing: the other answer counts', async () => {
    const answers: (() => void)[] = [];
    const late: Script = (request, session) => {
      if (answers.length > 0) return session.reply(refusal(request, 'UNAVAILABLE'));
      answers.push(() => session.reply(new StoreModel(PARTITIONS).execute(request, session.clientId)));
    };
    const { direct, nodes } = setUp({ n1: late, n2: late, n3: late });
    const read = direct.get('k', { read: 'session' });
    await until('a hedge', () => nodes.flatMap(getsOf).length === 2);
    answers[0]!();
    expect(await read).toBeUndefined();
  });
});

describe('a session', () => {
  it('asks for what its client has seen, or for what its token says', async () => {
    const { routed, router } = setUp();
    const { version } = await routed.put('k', 1);
    await routed.get('k', { read: 'session' });
    const token = routed.defaultSession.token;
    const own = routed.session();
    await routed.get('k', { read: 'session', session: own });
    await routed.get('k', { read: 'session', session: routed.session(token) });
    expect(getsOf(router).map(({ get }) => get!.sessionIndex)).toEqual([version, 0, version]);
    expect(() => routed.session('nonsense')).toThrow('token');
  });

  it('is told once that a write that it has seen is lost', async () => {
    const script: Script = (request, session) => {
      const [mark] = request.get?.early ?? [];
      const model = new StoreModel(PARTITIONS);
      session.reply(
        mark === undefined
          ? model.execute(request, session.clientId)
          : refusal(request, 'WRITE_LOST', { epoch: mark.epoch }),
      );
    };
    const { direct } = setUp({ n1: script, n2: script, n3: script });
    const session = direct.session();
    await direct.put('k', 1, { ack: 'leader', session });
    expect((await errorOf(direct.get('k', { read: 'session', session }))).code).toBe('WRITE_LOST');
    expect(await direct.get('k', { read: 'session', session })).toBeUndefined();
  });
});
