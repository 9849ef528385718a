/**
 * How operations end (G5, G4): every rule of outcomes, retries and sessions, against a server that a test
 * scripts request by request. Timeouts are short, but nothing is asserted about speed.
 */
import { describe, expect, it } from 'vitest';
import { clientFor, endOf, errorOf, until } from '../../test/support/client-fixtures.ts';
import {
  refusal,
  ScriptedNetwork,
  ScriptedServer,
  type ScriptedSession,
  StoreModel,
} from '../../test/support/client-network.ts';
import type { HistoryEvent } from '../common/history.ts';
import type { Request } from '../common/wire/messages.ts';
import type { ConnectOptions } from './options.ts';

/** What the server does with the n-th request; the last step stands for all that follow. */
type Step =
  | 'apply'
  | 'drop'
  | 'cut'
  | 'apply and drop'
  | 'apply and cut'
  | ((request: Request) => ReturnType<typeof refusal>);

const FAST = { backoffMs: 1, backoffMsMax: 5, attemptMsMin: 40 };

function setUp(steps: Step[], options: Partial<ConnectOptions> = {}) {
  const model = new StoreModel();
  const router = new ScriptedServer('r:1');
  const writes: Request[] = [];
  let next = 0;
  const take = (request: Request, session: ScriptedSession): void => {
    const step = steps[Math.min(next, steps.length - 1)]!;
    next += 1;
    if (typeof step === 'function') return session.reply(step(request));
    const reply = step.startsWith('apply') ? model.execute(request, session.clientId) : null;
    if (step === 'apply') session.reply(reply!);
    if (step.endsWith('cut')) session.cut();
  };
  router.script = (request, session) => {
    // The session time is asked for by the first write of a partition; steps are about what follows.
    if (request.operation !== 'get' && request.sessionTime === 0) {
      return session.reply(model.execute(request, session.clientId));
    }
    if (request.operation !== 'get') writes.push(request);
    take(request, session);
  };
  const { transport } = new ScriptedNetwork().add(router);
  const db = clientFor(transport, 'r:1', { requestTimeoutMs: 400, retry: FAST, ...options });
  return { model, router, db, writes };
}

const noQuorum = (request: Request) => refusal(request, 'NO_QUORUM');
const ackNotReached = (request: Request) => refusal(request, 'ACK_NOT_REACHED', { outcome: 'applied' });
const sessionExpired = (request: Request) => refusal(request, 'SESSION_EXPIRED');
const diskFull = (request: Request) => refusal(request, 'DISK_FULL');

describe('the outcome of a write', () => {
  it('is not_applied if every attempt was answered so, with the last code that says why', async () => {
    const { db, writes } = setUp([noQuorum]);
    expect(await endOf(db.put('k', 1))).toBe('NO_QUORUM not_applied');
    expect(writes.length).toBeGreaterThan(2);
  });

  it('is unknown if one attempt was lost, whatever the later ones said', async () => {
    const { db } = setUp(['cut', noQuorum]);
    expect(await endOf(db.put('k', 1))).toBe('NO_QUORUM unknown');
  });

  it('is unknown if one attempt was lost and the last word is an error that is not retried', async () => {
    const { db, writes } = setUp(['cut', diskFull]);
    expect(await endOf(db.put('k', 1))).toBe('DISK_FULL unknown');
    expect(writes).toHaveLength(2);
  });

  it('is unknown if an answer said so, whatever the later ones said', async () => {
    const { db } = setUp([(request) => refusal(request, 'NOT_LEADER', { outcome: 'unknown' }), diskFull]);
    expect(await endOf(db.put('k', 1))).toBe('DISK_FULL unknown');
  });

  it('is unknown after the deadline if nothing was ever answered', async () => {
    const { db, router, writes } = setUp(['drop']);
    expect(await endOf(db.put('k', 1))).toBe('DEADLINE_EXCEEDED unknown');
    expect(writes.length).toBeGreaterThan(1);
    await until('the server was told', () => router.cancels.length === writes.length);
  });

  it('is applied if it is in effect, but not where it was asked to be, whatever the later attempts said', async () => {
    const alone = setUp([ackNotReached]);
    expect(await endOf(alone.db.put('k', 1, { ack: 'all' }))).toBe('ACK_NOT_REACHED applied');
    for (const later of ['drop', noQuorum, diskFull, sessionExpired] as const) {
      const { db, writes } = setUp([ackNotReached, later]);
      expect(await endOf(db.put('k', 1, { ack: 'all' }))).toBe('ACK_NOT_REACHED applied');
      expect(new Set(writes.map(({ sequence }) => sequence)).size).toBe(1);
    }
  });

  it('stands in the history as unknown if it is applied, but perhaps by an earlier call with its idempotency key', async () => {
    const events: HistoryEvent[] = [];
    const { db } = setUp([ackNotReached], { recorder: (event) => events.push(event) });
    for (const idempotencyKey of [undefined, 'i'])
      await endOf(
        db.put('k', 1, { ack: 'all', ...(idempotencyKey === undefined ? {} : { idempotencyKey }) }),
      );
    expect(events.map(({ output }) => output?.result)).toEqual(['applied', 'unknown']);
  });

  it('tells how far it has come, as it was last told', async () => {
    const told = (reached: number) => (request: Request) =>
      refusal(request, 'ACK_NOT_REACHED', { outcome: 'applied', version: 12, reached, voters: 3 });
    const { db } = setUp([told(1), told(2), 'drop']);
    const error = await errorOf(db.put('k', 1, { ack: 'all' }));
    expect(error).toMatchObject({ code: 'ACK_NOT_REACHED', outcome: 'applied' });
    expect(error).toMatchObject({ version: 12, reached: 2, voters: 3 });
    // It is in effect, so what this session reads next has to show it.
    expect(db.defaultSession.get(error.partition!).sessionIndex).toBe(12);
  });

  it('is a receipt if the level is reached when the leader of the time is asked again', async () => {
    const { db, writes } = setUp(['apply and cut', ackNotReached, 'apply']);
    const receipt = await db.put('k', 1, { ack: 'all' });
    expect(receipt.duplicate).toBe(true);
    expect(new Set(writes.map(({ sequence }) => sequence)).size).toBe(1);
  });

  it('is not_applied for an error that is not retried, at once', async () => {
    const { db, writes } = setUp([(request) => refusal(request, 'NOT_A_COUNTER')]);
    const error = await errorOf(db.increment('k'));
    expect(`${error.code} ${error.outcome}`).toBe('NOT_A_COUNTER not_applied');
    expect(error.partition).toBeTypeOf('number');
    expect(writes).toHaveLength(1);
  });

  it('calls a partition without a leader unavailable', async () => {
    const { db } = setUp([(request) => refusal(request, 'NOT_LEADER')]);
    expect(await endOf(db.put('k', 1))).toBe('UNAVAILABLE not_applied');
  });

  it('ends before the deadline if the server asks for more patience than there is', async () => {
    const patience = (request: Request) => refusal(request, 'OVERLOADED', { retryAfterMs: 60_000 });
    const { db, writes } = setUp([patience], { requestTimeoutMs: 50_000 });
    expect(await endOf(db.put('k', 1))).toBe('OVERLOADED not_applied');
    expect(writes).toHaveLength(1);
  });

  it('is unknown for an error of a later version', async () => {
    const { db } = setUp([(request) => refusal(request, 'SOMETHING_NEW', { outcome: 'unknown' })]);
    expect(await endOf(db.put('k', 1))).toBe('INTERNAL unknown');
  });
});

describe('a read', () => {
  it('ends as not_applied, whatever happened', async () => {
    expect(await endOf(setUp(['drop']).db.get('k'))).toBe('DEADLINE_EXCEEDED not_applied');
    expect(await endOf(setUp(['cut', noQuorum]).db.get('k'))).toBe('NO_QUORUM not_applied');
  });

  it('is retried until it is answered', async () => {
    const { db } = setUp(['cut', noQuorum, 'drop', 'apply']);
    expect(await db.get('k')).toBeUndefined();
  });
});

describe('a retried write', () => {
  it.each(['apply and cut', 'apply and drop'] as const)(
    'carries the same request id, and takes effect once (%s)',
    async (lost) => {
      const { db, model, writes } = setUp([lost, 'apply']);
      const receipt = await db.increment('n', 5);
      expect(receipt).toMatchObject({ value: 5, duplicate: true });
      expect(model.applied).toBe(1);
      expect(writes.map(({ sequence, sessionTime }) => `${sequence} ${sessionTime}`)).toEqual(
        new Array(2).fill(`1 ${writes[0]!.sessionTime}`),
      );
      expect(writes[1]!.attempt).toBe(writes[0]!.attempt + 1);
    },
  );

  it('keeps the low water below itself while it is unfinished', async () => {
    const { db, writes } = setUp(['drop', 'apply']);
    const first = db.put('{tag}a', 1);
    await until('the first is under way', () => writes.length === 1);
    await db.put('{tag}b', 2);
    await first;
    const [a, b] = writes;
    expect([a!.sequence, a!.lowWater]).toEqual([1, 1]);
    expect([b!.sequence, b!.lowWater]).toEqual([2, 1]);
    await db.put('{tag}c', 3);
    expect(writes.at(-1)).toMatchObject({ sequence: 3, lowWater: 3 });
  });
});

describe('the deduplication session', () => {
  it('is opened with a time that the leader tells, under the same sequence', async () => {
    const { db, router, writes } = setUp(['apply']);
    await db.put('{t}a', 1);
    expect(router.requests.map(({ sequence, sessionTime }) => [sequence, sessionTime > 0])).toEqual([
      [1, false],
      [1, true],
    ]);
    await db.put('{t}b', 1);
    expect(router.requests).toHaveLength(3);
    expect(writes[1]!.sessionTime).toBeGreaterThan(writes[0]!.sessionTime);
  });

  it('is opened anew under a fresh sequence if it has expired and nothing was lost', async () => {
    const { db, model, writes } = setUp([noQuorum, 'apply']);
    await db.put('{t}a', 1);
    model.logTime += model.windowMs * 2;
    expect(await db.put('{t}b', 1)).toMatchObject({ duplicate: false });
    expect(model.applied).toBe(2);
    expect(writes.at(-1)).toMatchObject({ sequence: 3, lowWater: 3 });
  });

  it('ends a write as unknown if it has expired since an attempt that was lost', async () => {
    const { db, model, writes } = setUp(['apply', 'apply and cut', 'apply']);
    await db.put('{t}a', 1);
    const write = endOf(db.put('{t}b', 1));
    await until('the first attempt was applied', () => model.applied === 2);
    model.logTime += model.windowMs * 2;
    expect(await write).toBe('SESSION_EXPIRED unknown');
    expect(model.applied).toBe(2);
    expect(writes).toHaveLength(3);
  });

  it('never gives a write that was lost a fresh sequence, even if a newer time is known', async () => {
    const expired = (request: Request) => refusal(request, 'SESSION_EXPIRED');
    const { db, model, writes } = setUp(['apply', 'drop', 'apply', expired, 'apply']);
    await db.put('{t}a', 1);
    const lost = endOf(db.put('{t}b', 1));
    await until('it is under way', () => writes.length === 2);
    await db.put('{t}c', 1);
    expect(await lost).toBe('SESSION_EXPIRED unknown');
    expect(model.applied).toBe(2);
  });

  it('ends a write as unknown if the leader knows that it was applied and no more', async () => {
    const gone = (request: Request) => refusal(request, 'SESSION_EXPIRED', { outcome: 'unknown' });
    const { db, writes } = setUp([gone]);
    expect(await endOf(db.put('k', 1))).toBe('SESSION_EXPIRED unknown');
    expect(writes).toHaveLength(1);
  });

  it('gives up if every fresh session is refused', async () => {
    const { db } = setUp([(request) => refusal(request, 'SESSION_EXPIRED')], { requestTimeoutMs: 60_000 });
    expect(await endOf(db.put('k', 1))).toBe('SESSION_EXPIRED not_applied');
  });
});

describe('an abort', () => {
  it('before the call sends nothing', async () => {
    const { db, router } = setUp(['apply']);
    expect(await endOf(db.put('k', 1, { signal: AbortSignal.abort() }))).toBe('CANCELLED not_applied');
    expect(router.requests).toEqual([]);
  });

  it('of a write under way ends it as unknown and tells the server', async () => {
    const { db, router, writes } = setUp(['drop'], { requestTimeoutMs: 60_000 });
    const controller = new AbortController();
    const write = errorOf(db.put('k', 1, { signal: controller.signal }));
    await until('it was sent', () => writes.length === 1);
    controller.abort(new Error('enough'));
    const error = await write;
    expect(`${error.code} ${error.outcome}`).toBe('CANCELLED unknown');
    expect(error.cause).toEqual(new Error('enough'));
    await until('the server was told', () => router.cancels.length === 1);
    expect(router.cancels).toEqual([writes[0]!.id]);
  });

  it('between attempts that were all refused ends it as not_applied', async () => {
    const slow = (request: Request) => refusal(request, 'OVERLOADED', { retryAfterMs: 30_000 });
    const { db, writes } = setUp([slow], { requestTimeoutMs: 60_000 });
    const controller = new AbortController();
    const write = endOf(db.put('k', 1, { signal: controller.signal }));
    await until('it was refused', () => writes.length === 1);
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    expect(await write).toBe('CANCELLED not_applied');
  });

  it('of a read ends it as not_applied, and leaves the signal without listeners', async () => {
    const { db, router } = setUp(['drop', 'apply'], { requestTimeoutMs: 60_000 });
    const controller = new AbortController();
    const read = endOf(db.get('k', { signal: controller.signal }));
    await until('it was sent', () => router.requests.length === 1);
    controller.abort();
    expect(await read).toBe('CANCELLED not_applied');
    const other = new AbortController();
    await db.get('k', { signal: other.signal });
    other.abort();
    expect(router.cancels).toHaveLength(1);
  });
});

describe('the end of a client', () => {
  it('close waits for what is open, takes nothing new, and ends the connections', async () => {
    const { db, router } = setUp(['drop', 'apply']);
    const read = db.get('k');
    await until('it was sent', () => router.requests.length === 1);
    const closed = db.close();
    expect(await endOf(db.get('other'))).toBe('CLOSED not_applied');
    await closed;
    expect(await read).toBeUndefined();
    expect(router.sessions.size).toBe(0);
    await db.close();
  });

  it('destroy does not wait: what a connection has taken is unknown', async () => {
    const { db, writes } = setUp(['drop'], { requestTimeoutMs: 60_000 });
    const answered = endOf(db.put('k', 1));
    await until('it was sent', () => writes.length === 1);
    const taken = endOf(db.put('k2', 1));
    db.destroy();
    expect([await answered, await taken]).toEqual(['CLOSED unknown', 'CLOSED unknown']);
  });

  it('destroy ends what never left as not applied', async () => {
    const db = clientFor(new ScriptedNetwork().transport, 'nowhere:1');
    const write = endOf(db.put('k', 1));
    db.destroy();
    expect(await write).toBe('CLOSED not_applied');
  });
});

describe('bounds', () => {
  it('refuses operations beyond what may be open, before they are sent', async () => {
    const { db, writes } = setUp(['drop'], { operationsMax: 3, requestTimeoutMs: 60_000 });
    const open = [1, 2, 3].map((n) => endOf(db.put(`k${n}`, n)));
    const error = await errorOf(db.put('k4', 4));
    expect(`${error.code} ${error.outcome}`).toBe('OVERLOADED not_applied');
    expect(error.retryAfterMs).toBeGreaterThan(0);
    await until('the others were sent', () => writes.length === 3);
    db.destroy();
    expect(await Promise.all(open)).toEqual(new Array(3).fill('CLOSED unknown'));
  });

  it('refuses bytes beyond what may be open', async () => {
    const { db } = setUp(['drop'], { operationBytesMax: 1_000, requestTimeoutMs: 60_000 });
    const bytes = db.keyspace('b', { codec: 'bytes' });
    const open = endOf(bytes.put('k', new Uint8Array(900)));
    expect(await endOf(bytes.put('k', new Uint8Array(200)))).toBe('OVERLOADED not_applied');
    db.destroy();
    await open;
  });

  it('lets writes wait for a sequence when a partition has half a window of them unfinished', async () => {
    const { db, router, writes } = setUp(['drop'], {
      requestTimeoutMs: 60_000,
      retry: { ...FAST, attemptMsMin: 60_000 },
    });
    router.maxInFlight = 10_000;
    const writesOpen = Array.from({ length: 2_100 }, (_, n) => endOf(db.put(`{t}${n}`, n)));
    await until('the window is full', () => writes.length === 2_048);
    await new Promise((resolve) => setImmediate(resolve));
    expect(writes.length).toBe(2_048);
    db.destroy();
    const ends = await Promise.all(writesOpen);
    expect(ends.filter((end) => end === 'CLOSED unknown')).toHaveLength(2_048);
    expect(ends.filter((end) => end === 'CLOSED not_applied')).toHaveLength(52);
  });
});
