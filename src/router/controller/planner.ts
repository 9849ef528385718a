/**
 * Planned changes of established partitions: hand-overs (drain, balance, a leader outside the voters) and replacements of
 * voters (lost ones, moves). Prepare, wait until the target is level, reserve; the rest is `failover.ts`.
 * INVARIANT: once a Prepare was sent, a new epoch follows, whatever happens: the old leader does not resume before it.
 * A replacement adds a learner first and reserves only after the leader has called it level.
 */
import type { PartitionRecord, Replica } from '../../common/topology.ts';
import {
  backoff,
  type Context,
  emit,
  isDue,
  noteSent,
  type PartitionState,
  type Plan,
  type ReplicaMove,
  writeRecord,
} from './context.ts';
import { mayReconfigure, reserveEpoch } from './failover.ts';
import { hasReplica, withLearners } from './record-rules.ts';

/** Entries by which a follower may trail and still count as a good target: a Prepare closes such a gap in a moment. */
const LAG_SMALL = 1_000;

/** One step of an established partition on its own: go on with its plan, or start a repair. */
export function stepPlanned(context: Context, state: PartitionState, now: number): void {
  if (state.plan !== null) {
    prepare(context, state, state.plan, now);
    return;
  }
  const record = state.record!;
  const report = context.nodes.reportOf(state.partition, record.leader!);
  if (report?.paused === true && report.ledEpoch === record.epoch) {
    // Somebody else's Prepare: under way, or forgotten, and then the leader waits for a new epoch.
    state.pausedSince ??= now;
    if (now - state.pausedSince < context.options.resumeMs) return;
    startPlan(context, state, now, 'resume', record.leader!.replica, null);
    reserveEpoch(context, state, 'the leader is paused and no change is under way');
    return;
  }
  state.pausedSince = null;
  if (now < state.planNotBefore) return;
  if (!hasReplica(record.voters, record.leader!.replica)) {
    const target = bestTarget(context, state);
    if (target !== null) startPlan(context, state, now, 'outside', target.id, null);
    return;
  }
  repair(context, state, now);
}

/** Begins a planned change of an established partition that has none. */
export function startPlan(
  context: Context,
  state: PartitionState,
  now: number,
  reason: Plan['reason'],
  target: string,
  voters: readonly Replica[] | null,
): void {
  const { epoch, leader } = state.record!;
  const stays = voters !== null && hasReplica(voters, leader!.replica);
  state.plan = {
    reason,
    epoch,
    leader: leader!,
    target,
    preferred: stays ? leader!.replica : target,
    voters,
    startedAt: now,
    prepared: null,
    reservationId: '',
    reservedAt: null,
    unplanned: false,
  };
  emit(context, 'info', 'planned_change_started', { partition: state.partition, epoch, reason, target });
}

/** Sends Prepare until the leader says that the target is level, or time is up; then reserves. */
function prepare(context: Context, state: PartitionState, plan: Plan, now: number): void {
  const record = state.record!;
  const report = context.nodes.reportOf(state.partition, plan.leader);
  const level =
    report?.ledEpoch === plan.epoch &&
    report.paused &&
    report.levelTarget === plan.target &&
    plan.prepared !== null;
  const late = now - plan.startedAt >= context.options.prepareMs;
  if (level || late) {
    if (late && !level) {
      const { partition } = state;
      emit(context, 'warn', 'planned_change_not_level', {
        partition,
        epoch: plan.epoch,
        target: plan.target,
      });
    }
    // A target that did not become level must not be needed for the quorum of new voters, and another controller may
    // have dropped it from the learners meanwhile.
    const possible =
      level &&
      plan.voters?.every(({ id }) => hasReplica(record.voters, id) || hasReplica(record.learners, id));
    const voters = possible === true && plan.voters !== null ? plan.voters : record.voters;
    reserveEpoch(context, state, `planned: ${plan.reason}`, voters);
    return;
  }
  const node = context.nodes.get(plan.leader.node);
  if (node === undefined || !node.attached || !isDue(plan.prepared, now, node.session)) return;
  plan.prepared = noteSent(context, plan.prepared, now, node.session);
  const message = { partition: state.partition, epoch: plan.epoch, target: plan.target };
  context.prepares.push({ node: plan.leader.node, prepare: message });
}

/** Closes a plan when its new epoch has a leader, or when somebody else's epoch came first. */
export function finishPlan(context: Context, state: PartitionState, now: number): void {
  const plan = state.plan;
  if (plan === null) return;
  const record = state.record!;
  state.plan = null;
  const reached =
    record.leader?.replica === plan.preferred && (plan.voters === null || sameVoters(record, plan.voters));
  state.planFailures = reached ? 0 : state.planFailures + 1;
  const { planBackoffMs, planBackoffMsMax } = context.options;
  state.planNotBefore = reached
    ? now
    : now + backoff(planBackoffMs, planBackoffMsMax, state.planFailures - 1);
  emit(context, reached ? 'info' : 'warn', 'planned_change_finished', {
    partition: state.partition,
    epoch: record.epoch,
    reason: plan.reason,
    reached,
    unplanned: plan.unplanned,
    tookMs: Math.round(now - plan.startedAt),
  });
}

function sameVoters(record: PartitionRecord, voters: readonly Replica[]): boolean {
  return (
    voters.every((replica) => hasReplica(record.voters, replica.id)) && voters.length === record.voters.length
  );
}

/** The voter that should lead next: live, healthy, not draining, not far behind, with few leaderships. */
export function bestTarget(context: Context, state: PartitionState): Replica | null {
  const record = state.record!;
  const candidates = record.voters.filter((replica) => canLead(context, state, replica));
  if (candidates.length === 0) return null;
  const lastIndex = (replica: Replica): number =>
    context.nodes.reportOf(state.partition, replica)?.lastIndex ?? 0;
  const highest = Math.max(...candidates.map(lastIndex));
  const behind = (replica: Replica): number => (highest - lastIndex(replica) > LAG_SMALL ? 1 : 0);
  const leaders = (replica: Replica): number => context.leaderCounts.get(replica.node) ?? 0;
  candidates.sort((a, b) => behind(a) - behind(b) || leaders(a) - leaders(b) || (a.id < b.id ? -1 : 1));
  return candidates[0]!;
}

/** Whether a voter other than the leader may be handed the leadership. */
export function canLead(context: Context, state: PartitionState, replica: Replica): boolean {
  return (
    replica.id !== state.record!.leader!.replica &&
    context.nodes.live(replica.node) !== null &&
    !context.nodes.isDraining(replica.node) &&
    context.store.node(replica.node)?.membership !== 'NODE_LEAVING' &&
    context.nodes.health(state.partition, replica) === 'healthy'
  );
}

/** What is to change about the voters: who goes, and which node gets a new one; not both null. */
interface Wanted {
  readonly out: Replica | null;
  readonly node: string | null;
  readonly reason: 'repair' | 'move';
}

/** A voter that was lost comes back on its own node first: nothing else may take a quorum's place before. */
function wantedChange(context: Context, state: PartitionState, now: number): Wanted | null {
  const record = state.record!;
  const { move } = state;
  const lost = lostVoter(context, state, move, now);
  if (lost !== null) return { out: lost, node: lost.node, reason: 'repair' };
  if (move === null) return null;
  if (!isMovePossible(record, move)) {
    state.move = null;
    return null;
  }
  const out = record.voters.find(({ node }) => node === move.from) ?? null;
  return { out, node: move.to, reason: 'move' };
}

/** Whether a move still makes sense: its voter is there, and its target has none. */
export function isMovePossible({ voters }: PartitionRecord, { from, to }: ReplicaMove): boolean {
  if (from !== null && !voters.some(({ node }) => node === from)) return false;
  if (to !== null) return !voters.some(({ node }) => node === to);
  return voters.length > 1;
}

/** Returns a voter that is lost, other than the one that a move takes away; null: there is none. */
export function lostVoter(
  context: Context,
  state: PartitionState,
  move: ReplicaMove | null,
  now: number,
): Replica | null {
  const isLost = (replica: Replica): boolean =>
    replica.node !== move?.from && isLostVoter(context, state, replica, now);
  return state.record!.voters.find(isLost) ?? null;
}

/** Returns a voter that is not well, other than the one that is given up: with one voter less, each of the others counts more. */
export function illVoter({ nodes }: Context, state: PartitionState, out: string | null): Replica | null {
  const isIll = (replica: Replica): boolean =>
    nodes.live(replica.node) === null || nodes.health(state.partition, replica) !== 'healthy';
  return state.record!.voters.find((replica) => replica.node !== out && isIll(replica)) ?? null;
}

/** A node creates a voter only before the first leader: one that is still missing later was not created in time. */
function isLostVoter(context: Context, state: PartitionState, replica: Replica, now: number): boolean {
  if (context.nodes.live(replica.node) === null) return false;
  const health = context.nodes.health(state.partition, replica);
  return health === 'lost' || (health === 'pending' && now - state.recordSince >= context.options.ledMs);
}

/** Brings a fresh learner up where a voter is to be replaced, drops learners nobody needs, and starts the change. */
function repair(context: Context, state: PartitionState, now: number): void {
  const record = state.record!;
  const wanted = wantedChange(context, state, now);
  const useful = record.learners.filter((learner) => {
    if (context.nodes.health(state.partition, learner) === 'lost') return false;
    if (wanted !== null) return learner.node === wanted.node;
    // Nobody can say whether it is needed while its node is away. What it has copied so far would be lost.
    return context.nodes.live(learner.node) === null;
  });
  if (useful.length !== record.learners.length) {
    writeRecord(context, state, withLearners(record, useful));
    return;
  }
  if (wanted === null) return;
  if (wanted.node === null) {
    giveUp(context, state, now, wanted.out!);
    return;
  }
  const learner = useful[0];
  if (learner === undefined) {
    if (context.nodes.live(wanted.node) === null) return;
    const fresh = context.nodes.mintReplica(wanted.node, context.random);
    emit(context, 'info', 'learner_added', {
      partition: state.partition,
      replica: fresh.id,
      instead: wanted.out?.id ?? '',
    });
    writeRecord(context, state, withLearners(record, [fresh]));
    return;
  }
  const report = context.nodes.reportOf(state.partition, record.leader!);
  if (report?.ledEpoch !== record.epoch || !report.levelLearners.includes(learner.id)) return;
  if (context.nodes.health(state.partition, learner) !== 'healthy') return;
  const { out } = wanted;
  const voters =
    out === null
      ? [...record.voters, learner]
      : record.voters.map((replica) => (replica.id === out.id ? learner : replica));
  if (!mayReconfigure(record, voters) || isBusy(context, now)) return;
  startPlan(context, state, now, wanted.reason, learner.id, voters);
}

/** Goes on without a voter: what its leader holds is level with itself, or another one has to be. */
function giveUp(context: Context, state: PartitionState, now: number, out: Replica): void {
  const record = state.record!;
  const voters = record.voters.filter((replica) => replica.id !== out.id);
  // Chosen a while ago, maybe.
  if (illVoter(context, state, out.node) !== null) return;
  if (!mayReconfigure(record, voters) || isBusy(context, now)) return;
  const stays = hasReplica(voters, record.leader!.replica);
  const target = stays ? record.leader!.replica : bestTarget(context, state)?.id;
  if (target !== undefined) startPlan(context, state, now, 'move', target, voters);
}

/** Whether enough partitions are being changed. One that has lost its quorum amid its change may stay so: it keeps nobody waiting. */
function isBusy(context: Context, now: number): boolean {
  const { plannedMax, reconfigureMs } = context.options;
  const counts = ({ reason, startedAt }: Plan): boolean =>
    reason !== 'drain' && now - startedAt < reconfigureMs;
  return countPlans(context, counts) >= plannedMax;
}

/** Returns how many planned changes of some kind are under way. */
export function countPlans(context: Context, counts: (plan: Plan) => boolean): number {
  let active = 0;
  for (const { plan } of context.partitions.values()) if (plan !== null && counts(plan)) active += 1;
  return active;
}

/** Whether a partition may be handed over. */
export function isSteady(state: PartitionState, now: number): boolean {
  return state.record?.established === true && state.plan === null && now >= state.planNotBefore;
}

/** Hands every leadership of draining nodes over, several at once. Without another level voter it stays. */
export function drain(context: Context, now: number): void {
  let active = countPlans(context, (plan) => plan.reason === 'drain');
  for (const state of context.partitions.values()) {
    if (active >= context.options.drainMax) return;
    if (!isSteady(state, now) || context.store.busy(`partition/${state.partition}`)) continue;
    if (!context.nodes.isDraining(state.record!.leader!.node)) continue;
    const target = bestTarget(context, state);
    if (target === null) continue;
    startPlan(context, state, now, 'drain', target.id, null);
    active += 1;
  }
}
