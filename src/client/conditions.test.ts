/** Conditions, times to live and `update` as callers see them, over the in-memory wire. */
import { describe, expect, it } from 'vitest';
import { clientFor, errorOf } from '../../test/support/client-fixtures.ts';
import { ScriptedNetwork, ScriptedServer, StoreModel } from '../../test/support/client-network.ts';
import type { HistoryEvent } from '../common/history.ts';
import { TTL_MS_MAX } from '../common/limits.ts';

function setUp() {
  const model = new StoreModel();
  const router = new ScriptedServer('127.0.0.1:7400');
  router.script = (request, session) => session.reply(model.execute(request, session.clientId));
  const network = new ScriptedNetwork().add(router);
  const events: HistoryEvent[] = [];
  const recorder = (event: HistoryEvent): void => void events.push(event);
  const db = clientFor(network.transport, 'ringkeep://127.0.0.1:7400', { recorder });
  return { model, router, events, db };
}

describe('a condition', () => {
  it('lets a write happen if it holds, and else tells the version that is there', async () => {
    const { db } = setUp();
    const first = await db.put('k', 1, { ifAbsent: true });
    expect(first.applied).toBe(true);
    expect(await db.put('k', 2, { ifAbsent: true })).toMatchObject({
      applied: false,
      version: first.version,
    });
    const second = await db.put('k', 3, { ifVersion: first.version });
    expect(second.applied).toBe(true);
    expect(await db.delete('k', { ifVersion: first.version })).toMatchObject({
      applied: false,
      version: second.version,
    });
    expect(await db.get('k')).toBe(3);
    expect(await db.delete('k', { ifExists: true })).toMatchObject({ applied: true });
    expect(await db.delete('k', { ifExists: true })).toMatchObject({ applied: false, version: 0 });
    expect(await db.put('k', 4, { ifVersion: second.version })).toMatchObject({ applied: false, version: 0 });
    expect(await db.put('k', 5, { ifAbsent: false, ifExists: false })).toMatchObject({ applied: true });
  });

  it('stands in the history with what it came to', async () => {
    const { db, events } = setUp();
    await db.put('k', 1, { ifAbsent: true });
    await db.delete('k', { ifVersion: 99 });
    expect(events.map(({ op, condition, output }) => [op, condition, output?.applied])).toEqual([
      ['put', { ifAbsent: true }, undefined],
      ['delete', { ifVersion: 99 }, false],
    ]);
  });

  it('is refused early if it makes no sense, or cannot be known at the level asked for', async () => {
    const { db, router } = setUp();
    const errors = await Promise.all([
      errorOf(db.put('k', 1, { ifAbsent: true, ifExists: true })),
      errorOf(db.put('k', 1, { ifVersion: 0 })),
      errorOf(db.delete('k', { ifVersion: 1.5 })),
      errorOf(db.put('k', 1, { ifAbsent: 1 } as never)),
      errorOf(db.increment('k', 1, { ifExists: true } as never)),
      errorOf(db.get('k', { ifExists: true } as never)),
      errorOf(db.put('k', 1, { ifExists: true, ack: 'leader' })),
      errorOf(db.update('k', () => 1, { ack: 'leader' })),
    ]);
    const invalid = Array.from({ length: 6 }, () => 'INVALID_ARGUMENT');
    const early = ['CONDITION_UNSUPPORTED', 'CONDITION_UNSUPPORTED'];
    expect(errors.map(({ code }) => code)).toEqual([...invalid, ...early]);
    expect(router.requests).toEqual([]);
  });
});

describe('a time to live', () => {
  it('goes with the write that gives it, and is refused where it makes no sense', async () => {
    const { db, router, events } = setUp();
    await db.put('k', 1, { ttlMs: 1_500 });
    await db.increment('n', 1, { ttlMs: 60_000 });
    expect(await db.expire('k', 30_000, { ifExists: true })).toMatchObject({ applied: true });
    expect(await db.persist('k')).toMatchObject({ applied: true });
    expect(await db.persist('absent')).toMatchObject({ applied: false, version: 0 });
    await db.update('k', () => 2, { ttlMs: 5 });
    await db.putMany([['k', 3]], { ttlMs: 6 });
    const sent = router.requests.filter(
      ({ operation, sessionTime }) => operation !== 'get' && sessionTime > 0,
    );
    expect(sent.map(({ put, increment, touch }) => (put ?? increment ?? touch)!.ttlMs)).toEqual([
      ...[1_500, 60_000, 30_000, 0, 0, 5, 6],
    ]);
    expect(events.filter(({ op }) => op !== 'get').map(({ op, ttlMs }) => [op, ttlMs])).toEqual([
      ['put', 1_500],
      ['increment', 60_000],
      ['touch', 30_000],
      ['touch', undefined],
      ['touch', undefined],
      ['put', 5],
      ['put', 6],
    ]);
    const errors = await Promise.all([
      errorOf(db.put('k', 1, { ttlMs: 0 })),
      errorOf(db.put('k', 1, { ttlMs: 1.5 })),
      errorOf(db.expire('k', TTL_MS_MAX + 1)),
      errorOf(db.expire('k', 1, { ifAbsent: true } as never)),
      errorOf(db.delete('k', { ttlMs: 1 } as never)),
      errorOf(db.get('k', { ttlMs: 1 } as never)),
    ]);
    expect(errors.map(({ code }) => code)).toEqual(Array.from({ length: 6 }, () => 'INVALID_ARGUMENT'));
    expect((await errorOf(db.persist('k', { ack: 'leader' }))).code).toBe('CONDITION_UNSUPPORTED');
    expect(await db.expire('k', TTL_MS_MAX)).toMatchObject({ applied: true });
  });
});

describe('update', () => {
  it('computes again from the newer value when somebody else has written', async () => {
    const { db } = setUp();
    const counts = await Promise.all(
      Array.from({ length: 20 }, () => db.update<number>('n', (current) => (current ?? 0) + 1)),
    );
    expect(await db.get('n')).toBe(20);
    expect(counts.map(({ value }) => value).sort((a, b) => a! - b!)).toEqual(
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    expect(Math.max(...counts.map(({ calls }) => calls))).toBeGreaterThan(1);
  });

  it('writes nothing if nothing is wanted, and takes a promise for an answer', async () => {
    const { db, model } = setUp();
    await db.put('k', 'there');
    const applied = model.applied;
    expect(await db.update('k', () => undefined)).toEqual({ value: 'there', receipt: null, calls: 1 });
    expect(model.applied).toBe(applied);
    const result = await db.update<string>('k', async (current) => `${current}!`);
    expect(result).toMatchObject({ value: 'there!', receipt: { applied: true }, calls: 1 });
  });

  it('fails with what the function throws', async () => {
    const { db } = setUp();
    await expect(
      db.update('k', () => {
        throw new TypeError('mine');
      }),
    ).rejects.toThrow(TypeError);
  });

  it('ends when the others are always faster, with nothing written', async () => {
    const { db } = setUp();
    const error = await errorOf(
      db.update(
        'k',
        async () => {
          await db.put('k', 'theirs');
          return 'mine';
        },
        { timeoutMs: 300 },
      ),
    );
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', outcome: 'not_applied' });
    expect(error.message).toContain('others have written');
    expect(await db.get('k')).toBe('theirs');
  });

  it('does not compute again after a write whose outcome is unknown', async () => {
    const { db, router } = setUp();
    const { script } = router;
    let calls = 0;
    router.script = (request, session) => {
      if (request.operation === 'get') script(request, session);
    };
    const error = await errorOf(
      db.update(
        'k',
        () => {
          calls += 1;
          return calls;
        },
        { timeoutMs: 200 },
      ),
    );
    expect(error.outcome).toBe('unknown');
    expect(calls).toBe(1);
  });

  it('ends with CANCELLED when its signal says so', async () => {
    const { db } = setUp();
    const controller = new AbortController();
    const error = await errorOf(
      db.update(
        'k',
        async () => {
          await db.put('k', 'theirs');
          controller.abort();
          return 'mine';
        },
        { signal: controller.signal },
      ),
    );
    expect(error.code).toBe('CANCELLED');
  });

  it('goes by the session that it is given', async () => {
    const { db } = setUp();
    const session = db.session();
    const { receipt } = await db.update('k', () => 1, { session });
    expect(session.get(receipt!.partition).sessionIndex).toBe(receipt!.version);
    expect(db.defaultSession.get(receipt!.partition).sessionIndex).toBe(0);
  });
});
