import { describe, expect, it } from 'vitest';
import { MOVE_SETTINGS } from '../common/topology.ts';
import type { Move, MovesReply } from '../common/wire/admin-messages.ts';
import {
  endText,
  estimateSeconds,
  movesLines,
  openMoveText,
  planText,
  progressText,
  showMoves,
} from './shown-moves.ts';

const MIB = 1024 ** 2;

function move(what: Partial<Move>): Move {
  return {
    ...{ partition: 0, from: 'n1', to: 'n4', state: 'waiting', reason: '', bytes: 160 * MIB, copied: 0 },
    sender: 'n1',
    ...what,
  };
}

function reply(what: Partial<MovesReply>): MovesReply {
  return {
    ...{ state: 'running', reason: 'n4 has come', moves: [], stuck: [], settings: MOVE_SETTINGS },
    ...{ replicationFactor: 3, choices: [], bytesPerSecond: 0, plan: 'p1', overfull: [], ...what },
  };
}

describe('the estimate', () => {
  const settings = { ...MOVE_SETTINGS, bytesPerSecond: 16 * MIB, perNode: 2 };

  it('is that of the node with most to send or to take', () => {
    expect(estimateSeconds([], settings)).toBe(0);
    expect(estimateSeconds([move({})], settings)).toBe(10.5);
    const moves = [move({}), move({ from: 'n2' }), move({ from: 'n3', copied: 80 * MIB })];
    expect(estimateSeconds(moves, settings)).toBe(26.5);
    // Two targets, one source.
    expect(estimateSeconds([move({}), move({ to: 'n5' })], settings)).toBe(21);
  });

  it('counts a voter that is added or given up for the nodes that there are', () => {
    expect(estimateSeconds([move({ from: '' })], settings)).toBe(10.5);
    expect(estimateSeconds([move({ to: '', bytes: 0 })], settings)).toBe(0.5);
  });
});

describe('what is shown of moves', () => {
  it('says how far they are, how fast, and what waits for what, each reason once', () => {
    const shown = showMoves(
      reply({
        moves: [
          move({ state: 'done', copied: 160 * MIB }),
          move({ partition: 1, state: 'active', copied: 40 * MIB }),
          move({ partition: 2, reason: 'the disk of n4 is full' }),
          move({ partition: 3, reason: 'the disk of n4 is full' }),
        ],
        bytesPerSecond: 12 * MIB,
      }),
    );
    expect(shown).toMatchObject({ total: 4, done: 1, active: 1, bytes: 640 * MIB, copied: 200 * MIB });
    expect(movesLines(shown)).toEqual([
      'Moves replicas (n4 has come): 1 of 4 done, 1 under way; 200.0 MiB of 640.0 MiB, 12.0 MiB/s, about 37 s left',
      '2 waiting: the disk of n4 is full',
    ]);
  });

  it('promises no end while it is being ended, and says nothing when nothing goes on', () => {
    const aborting = showMoves(reply({ state: 'aborting', moves: [move({ state: 'active' })] }));
    expect(progressText(aborting)).toBe('Ends its moves: 0 of 1 done, 1 under way; 0 B of 160.0 MiB');
    expect(aborting.secondsLeft).toBeNull();
    for (const state of ['none', 'done', 'aborted'])
      expect(progressText(showMoves(reply({ state })))).toBe('');
  });

  it('tells what cannot go anywhere, by node', () => {
    const stuck = [0, 1].map((partition) => ({ partition, node: 'n3' }));
    expect(movesLines(showMoves(reply({ state: 'done', stuck })))).toEqual([
      '2 replicas on n3 should move, and no other node can take them',
    ]);
  });

  it('goes by the pace of the last seconds where copies give way, which has a least', () => {
    const moves = [move({ state: 'active', copied: 60 * MIB })];
    const left = (bytesPerSecond: number) => showMoves(reply({ moves, bytesPerSecond })).secondsLeft;
    expect([0, 64 * MIB].map(left)).toEqual([7, 7]);
    expect(left(2 * MIB)).toBe(50);
    // Hardly anything: the move is at something else.
    expect(left(1)).toBe(201);
  });

  it('promises no end while every move waits, and lets none take time back from others', () => {
    const moves = [move({ reason: 'the disk of n4 is full' })];
    expect(showMoves(reply({ moves })).secondsLeft).toBeNull();
    expect(showMoves(reply({ state: 'preview', moves })).secondsLeft).toBe(11);
    const over = [move({ state: 'active', copied: 400 * MIB }), move({ partition: 1 })];
    expect(showMoves(reply({ moves: over })).secondsLeft).toBe(11);
  });

  it('does not call replicas empty that are in memory only', () => {
    const moves = [move({ state: 'active', bytes: 0 })];
    expect(progressText(showMoves(reply({ moves })))).toBe(
      'Moves replicas (n4 has come): 0 of 1 done, 1 under way, about 1 s left',
    );
    expect(endText(showMoves(reply({ state: 'done', moves })), 'none')).toBe(
      'Done: 1 move, less than 16 MiB on each node, or not known yet (n4 has come).',
    );
    const given = [move({ to: '', state: 'done', bytes: 0 })];
    expect(endText(showMoves(reply({ state: 'done', moves: given })), 'none')).toBe(
      'Done: 1 move (n4 has come).',
    );
  });

  it('names nodes that have more than their share, or will', () => {
    const overfull = [{ node: 'n4', voters: 24, bound: 23 }];
    const tail = '24 replicas, more than the 23 of its share: no other node has a zone that they need';
    expect(movesLines(showMoves(reply({ state: 'done', overfull })))).toEqual([`n4 has ${tail}`]);
    expect(planText(showMoves(reply({ state: 'preview', overfull })))).toBe(
      `Nothing is to be moved.\nn4 will have ${tail}`,
    );
  });

  it('says of an order without a plan what it was asked for, and of an aborted one that it was', () => {
    expect(endText(showMoves(reply({ state: 'none', plan: '' })), 'No moves are under way.')).toBe(
      'No moves are under way.',
    );
    const moves = [move({ state: 'done' }), move({ partition: 1 })];
    expect(endText(showMoves(reply({ state: 'aborted', moves })), '')).toBe(
      'Aborted: 1 of 2 moves were done.',
    );
  });

  it('says what becomes of one move', () => {
    expect(openMoveText(move({ state: 'active', bytes: 0 }))).toBe(
      'By the plan, partition 0: n1 to n4: under way',
    );
    expect(openMoveText(move({ from: '', reason: 'its turn', bytes: 0 }))).toBe(
      'By the plan, partition 0: a voter is added on n4: waits: its turn',
    );
  });
});
