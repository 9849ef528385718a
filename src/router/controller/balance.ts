/**
 * Spreads the leaders over the nodes when all has been quiet for a while: by number first, then by the requests that they take. Decides
 * what to hand over (`leader-balance.ts`) and begins it (`planner.ts`).
 */
import { findLeaderMoves, findLoadMoves, type LeaderMove, type LoadedLeadership } from '../leader-balance.ts';
import type { Context } from './context.ts';
import { canLead, countPlans, isSteady, startPlan } from './planner.ts';

/** How often it is looked at what leaders take: their nodes tell it every few seconds. */
const LOOK_MS = 1_000;

/** One step: hands at most two leaderships over. */
export function balance(context: Context, now: number): void {
  const { options, nodes, store } = context;
  if (now - context.quietSince < options.balanceAfterMs) return;
  if (countPlans(context, () => true) >= options.plannedMax) return;
  const counts = new Map(nodes.leadable().map((node) => [node, 0]));
  if (counts.size < 2) return;
  const leaderships: LoadedLeadership[] = [];
  let youngest = 0;
  for (const state of context.partitions.values()) {
    const { record, partition } = state;
    if (record === null || record.leader === null) return;
    // A hand-over under way counts where it leads to, and cannot be moved again meanwhile.
    const heading = record.voters.find((replica) => replica.id === state.plan?.preferred);
    const leader = heading?.node ?? record.leader.node;
    if (counts.has(leader)) counts.set(leader, counts.get(leader)! + 1);
    youngest = Math.max(youngest, state.recordSince);
    const isMovable = isSteady(state, now) && !store.busy(`partition/${partition}`);
    const candidates = isMovable ? record.voters.filter((voter) => canLead(context, state, voter)) : [];
    const load = nodes.loadOf(partition, record.leader.node);
    leaderships.push({ partition, leader, load, candidates: candidates.map(({ node }) => node) });
  }
  const [byCount] = findLeaderMoves(counts, leaderships);
  if (byCount !== undefined) {
    handOver(context, byCount, now);
    return;
  }
  // What leaders take is known some time after they have begun: a hand-over is judged before the next one.
  if (now - youngest < options.loadSteadyMs || now - context.loadLookedAt < LOOK_MS) return;
  if (countPlans(context, () => true) > 0) return;
  context.loadLookedAt = now;
  for (const move of findLoadMoves(counts, leaderships, options.loadLeast)) handOver(context, move, now);
}

function handOver(context: Context, { partition, to }: LeaderMove, now: number): void {
  const state = context.partitions.get(partition)!;
  const target = state.record!.voters.find(({ node }) => node === to)!;
  startPlan(context, state, now, 'balance', target.id, null);
}
