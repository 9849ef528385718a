/**
 * The client against a network that loses, delays, repeats its connections' deaths and refuses at random:
 * whatever happens, a counter moves by every increment that was reported applied, by none that was reported
 * not applied, and by those with an unknown outcome at most once each (G4, G5). Seeded; the order of events
 * depends on timers as well.
 */
import { describe, expect, it } from 'vitest';
import { clientFor } from '../../test/support/client-fixtures.ts';
import {
  refusal,
  ScriptedNetwork,
  ScriptedServer,
  type ScriptedSession,
  StoreModel,
} from '../../test/support/client-network.ts';
import { type Outcome, RingkeepError } from '../common/errors.ts';
import type { HistoryEvent } from '../common/history.ts';
import { createRandom, type Random } from '../common/random.ts';
import type { Request } from '../common/wire/messages.ts';

const REFUSALS = ['NO_QUORUM', 'NOT_LEADER', 'OVERLOADED', 'SHUTTING_DOWN', 'DISK_FULL'] as const;

/** Answers at random; some requests are executed late, when the client has long tried again. */
function lossyScript(model: StoreModel, random: Random, applied: Map<string, number>) {
  const execute = (request: Request, session: ScriptedSession) => {
    const before = model.applied;
    const reply = model.execute(request, session.clientId);
    if (model.applied > before && request.increment) {
      const key = Buffer.from(request.key).toString();
      applied.set(key, (applied.get(key) ?? 0) + 1);
    }
    return reply;
  };
  return (request: Request, session: ScriptedSession): void => {
    switch (random.integer(12)) {
      case 0:
        return;
      case 1:
        execute(request, session);
        return;
      case 2:
        return session.cut();
      case 3:
        execute(request, session);
        return session.cut();
      case 4:
        return session.reply(refusal(request, REFUSALS[random.integer(REFUSALS.length)]!));
      case 5:
        return session.reply(refusal(request, 'NOT_LEADER', { outcome: 'unknown' }));
      case 6:
        execute(request, session);
        return session.reply(refusal(request, 'DEADLINE_EXCEEDED', { outcome: 'unknown' }));
      case 7:
        setTimeout(() => session.reply(execute(request, session)), random.integer(60));
        return;
      case 8:
        session.goaway();
        return session.reply(execute(request, session));
      default:
        return session.reply(execute(request, session));
    }
  };
}

describe('over a lossy network', () => {
  it.each([1, 2, 3, 4, 5, 6])('every outcome is true (seed %i)', async (seed) => {
    const random = createRandom(seed);
    const model = new StoreModel();
    const applied = new Map<string, number>();
    const script = lossyScript(model, random, applied);
    const routers = ['r1:1', 'r2:1', 'r3:1'].map((address) => new ScriptedServer(address));
    for (const router of routers) router.script = script;
    const events: HistoryEvent[] = [];
    const db = clientFor(
      new ScriptedNetwork().add(...routers).transport,
      { endpoints: routers.map(({ address }) => address) },
      {
        requestTimeoutMs: 250,
        retry: { backoffMs: 1, backoffMsMax: 10, attemptMsMin: 25 },
        recorder: (event) => events.push(event),
      },
    );
    const outcomes = new Map<string, 'ok' | Outcome>();
    const worker = async (name: number): Promise<void> => {
      for (let n = 0; n < 40; n += 1) {
        const key = `${name}-${n}`;
        try {
          const receipt = await db.increment(key);
          expect(receipt.value).toBe(1);
          outcomes.set(key, 'ok');
        } catch (error) {
          if (!(error instanceof RingkeepError)) throw error;
          outcomes.set(key, error.outcome);
        }
      }
    };
    await Promise.all(Array.from({ length: 16 }, (_, name) => worker(name)));
    expect(outcomes.size).toBe(640);
    for (const [key, outcome] of outcomes) {
      const times = applied.get(key) ?? 0;
      const true_ = outcome === 'ok' ? times === 1 : outcome === 'not_applied' ? times === 0 : times <= 1;
      expect(true_, `seed ${seed}: ${key} ended as ${outcome} and was applied ${times} times`).toBe(true);
    }
    const ok = [...outcomes.values()].filter((outcome) => outcome === 'ok').length;
    expect(ok, `seed ${seed}: most get through`).toBeGreaterThan(320);
    expect(events.map(({ output }) => output!.result).sort()).toEqual([...outcomes.values()].sort());
    await db.close();
  });
});
