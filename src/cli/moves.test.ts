import { afterEach, describe, expect, it } from 'vitest';
import { listen } from '../../test/support/wire.ts';
import { MOVE_SETTINGS } from '../common/topology.ts';
import type { MovesReply, MovesRequest } from '../common/wire/admin-messages.ts';
import { drained, drainedText } from './members.ts';
import { askMoves, moveAll } from './moves.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const IDLE: MovesReply = {
  ...{ state: 'none', reason: '', moves: [], stuck: [], settings: MOVE_SETTINGS, replicationFactor: 3 },
  ...{ choices: [], bytesPerSecond: 0, plan: '', overfull: [] },
};
const LEFT = {
  partition: 0,
  from: 'n4',
  to: 'n1',
  state: 'waiting',
  reason: '',
  bytes: 0,
  copied: 0,
  sender: 'n1',
};

/** A router that answers what the test says, and remembers what it was asked for. */
async function router(answer: (request: MovesRequest) => MovesReply) {
  const asked: string[] = [];
  const refuse = async (): Promise<never> => {
    throw new Error('not here');
  };
  const server = await listen({
    admin: {
      ...{ status: refuse, hashPartition: refuse, setAck: refuse, hot: refuse, scrub: refuse },
      moves: async (_peer, request) => {
        asked.push(request.order);
        return answer(request);
      },
    },
  });
  cleanups.push(() => server.stop(0));
  return { asked, flags: { url: `ringkeep://${server.address}`, timeout: 2_000, json: false } };
}

describe('askMoves', () => {
  it('says plainly that the router is from before moves', async () => {
    // As an older one: it does not know the call.
    const server = await listen({});
    cleanups.push(() => server.stop(0));
    const flags = { url: `ringkeep://${server.address}`, timeout: 2_000, json: false };
    await expect(askMoves(flags, { order: 'MOVES_TELL' })).rejects.toMatchObject({
      code: 'VERSION_MISMATCH',
      message: expect.stringContaining('the router is of a version that moves no replicas: update it first'),
    });
  });
});

describe('a node that is drained', () => {
  it('begins the moves by itself, plan after plan, and ends when there is none', async () => {
    let plans = 2;
    const { asked, flags } = await router(({ order }) => {
      if (order !== 'MOVES_RUN' || plans === 0) return IDLE;
      plans -= 1;
      return { ...IDLE, state: 'done', plan: `p${plans}`, moves: [{ ...LEFT, state: 'done' }] };
    });
    const end = await drained(flags, 'n4');
    expect(end).toMatchObject({ left: 0, shown: { state: 'done', plan: 'p0' } });
    expect(asked).toEqual(['MOVES_RUN', 'MOVES_RUN', 'MOVES_RUN', 'MOVES_PREVIEW']);
  });

  it('does not wait for moves that somebody has aborted, and says what is left', async () => {
    const { flags } = await router(({ order }) => {
      if (order === 'MOVES_RUN') return { ...IDLE, state: 'running', plan: 'p1', moves: [LEFT] };
      if (order === 'MOVES_PREVIEW') return { ...IDLE, state: 'preview', moves: [LEFT] };
      return { ...IDLE, state: 'aborted', plan: 'p1', moves: [LEFT] };
    });
    const end = await drained(flags, 'n4');
    expect(end).toMatchObject({ left: 1, shown: { state: 'aborted' } });
    expect(drainedText('n4', end)).toBe(
      '1 replica stays on n4: somebody has aborted the moves. Drain it again to go on.',
    );
  });

  it('says what has nowhere to go', async () => {
    const stuck = [0, 1].map((partition) => ({ partition, node: 'n4' }));
    const { flags } = await router(() => ({ ...IDLE, stuck }));
    const end = await drained(flags, 'n4');
    expect(drainedText('n4', end)).toBe(
      '2 replicas stay on n4: no other node can take them. Add a node, or lower the replication factor.',
    );
  });
});

describe('moveAll', () => {
  it('claims nothing of an earlier plan where there is nothing to do', async () => {
    const { flags } = await router(() => IDLE);
    expect(await moveAll(flags)).toMatchObject({ state: 'none', plan: '', total: 0 });
  });
});
