/**
 * Failover of one partition: reserve, revoke, establish, propagate. What to do next follows from the confirmed record;
 * only the Seal answers and the clocks are remembered here, so a controller can stop and another take over at any point.
 * Owns also the end of planned changes (they are failovers that require the old leader's answer). Rebuilding is not here.
 * INVARIANT: Seals are sent only for a reservation that the store has confirmed; a leader is recorded only after a quorum
 * of each set has sealed it, and it is the one with the highest last (epoch, index) of all the answers that count.
 * Source: DESIGN.md section 5; the state diagram is in this folder's DESIGN.md.
 */
import { type PartitionRecord, quorumSize, type Replica } from '../../common/topology.ts';
import type { ReplicaReport, SealReply } from '../../common/wire/messages.ts';
import {
  backoff,
  type Context,
  countLeader,
  emit,
  isDue,
  noteSent,
  type PartitionState,
  writeRecord,
} from './context.ts';
import {
  confirmEstablished,
  establish,
  hasReplica,
  neverLed,
  reserve,
  sameLeader,
  sameRecord,
  sameSet,
  sealedReplicas,
  setsFor,
} from './record-rules.ts';
import { isAdmitted } from './runs.ts';

/** Reserves the next epoch, above the record's and every promise heard of. `voters` default to the present ones. */
export function reserveEpoch(
  context: Context,
  state: PartitionState,
  reason: string,
  voters?: readonly Replica[],
): void {
  const record = state.record!;
  const reservationId = context.random.id();
  const epoch = Math.max(record.epoch, state.promiseHeard) + 1;
  if (record.leader !== null && !record.established) state.failures += 1;
  if (state.plan !== null) state.plan.reservationId = reservationId;
  const next = reserve(record, { epoch, reservationId, ...(voters === undefined ? {} : { voters }) });
  const fields = { partition: state.partition, epoch, reason, configuration: next.configuration };
  emit(context, state.plan === null ? 'warn' : 'info', 'epoch_reserving', fields);
  if (state.plan === null) state.unavailable = reason;
  writeRecord(context, state, next);
}

/** Returns why the recorded leader cannot go on in its epoch, or the empty text. */
export function leaderProblem(context: Context, state: PartitionState, now: number): string {
  const record = state.record!;
  const leader = record.leader!;
  const { verdict, detached, boot } = leaderNode(context, leader.node);
  if (verdict !== '') return `leader's node ${leader.node} is dead: ${verdict}`;
  if (detached) return '';
  if (boot !== leader.boot)
    return `leader's node ${leader.node} restarted (boot ${boot}, was ${leader.boot})`;
  const health = context.nodes.health(state.partition, { id: leader.replica, node: leader.node });
  if (health === 'lost') return `leader's replica on ${leader.node} is lost`;
  const report = context.nodes.reportOf(state.partition, leader);
  if (report?.ledEpoch !== record.epoch) {
    const limit = backoff(context.options.ledMs, context.options.establishMsMax, state.failures);
    return now - state.recordSince < limit ? '' : `${leader.node} does not lead after ${limit} ms`;
  }
  if (report.established) return '';
  const { establishMs, establishMsMax } = context.options;
  const limit = backoff(establishMs, establishMsMax, state.failures);
  return now - state.recordSince < limit ? '' : `${leader.node} has committed nothing after ${limit} ms`;
}

function leaderNode(context: Context, id: string): { verdict: string; detached: boolean; boot: number } {
  const node = context.nodes.get(id);
  const { alive, reason } = context.nodes.verdict(id);
  return { verdict: alive ? '' : reason, detached: node?.attached !== true, boot: node?.boot ?? 0 };
}

/** Fails an established or recorded leader over. A pair of sets that could not be established in time is reverted. */
export function failOver(context: Context, state: PartitionState, now: number, reason: string): void {
  const record = state.record!;
  emit(context, 'warn', 'failover_started', { partition: state.partition, epoch: record.epoch, reason });
  context.quietSince = now;
  // Nobody was asked to pause yet: nothing obliges the plan to go on.
  if (state.plan !== null && state.plan.prepared === null && state.plan.reservationId === '')
    state.plan = null;
  const late = now - state.configurationSince >= context.options.reconfigureMs;
  if (record.previousVoters.length > 0 && late) revert(context, state);
  else reserveEpoch(context, state, reason);
}

function revert(context: Context, state: PartitionState): void {
  const record = state.record!;
  emit(context, 'warn', 'reconfiguration_reverted', {
    partition: state.partition,
    epoch: record.epoch,
    configuration: record.configuration,
    led: record.led,
  });
  if (state.plan === null) state.planFailures += 1;
  reserveEpoch(context, state, 'reconfiguration not established in time', record.previousVoters);
}

/** Records that the leader has committed an entry of its epoch, once it says so. Returns whether it did. */
export function confirmWhenEstablished(context: Context, state: PartitionState): boolean {
  const record = state.record!;
  const report = context.nodes.reportOf(state.partition, record.leader!);
  if (report?.ledEpoch !== record.epoch || !report.established) return false;
  writeRecord(context, state, confirmEstablished(record));
  return true;
}

/**
 * Whether a quorum of the voters of an epoch holds an entry of it, fsynced. With it they hold everything that its leader took
 * over, from the previous voters too, and none of them has heard of a later epoch. `reportOf`: what a healthy replica reports.
 */
export function isHeldByQuorum(
  { epoch, configuration, voters }: Pick<PartitionRecord, 'epoch' | 'configuration' | 'voters'>,
  reportOf: (replica: Replica) => ReplicaReport | undefined,
): boolean {
  const holders = voters.filter((replica) => {
    const report = reportOf(replica);
    return (
      report?.durableEpoch === epoch &&
      report.promiseEpoch === epoch &&
      report.configuration === configuration &&
      sameSet(report.voters, voters)
    );
  });
  return holders.length >= quorumSize(voters.length);
}

/**
 * Takes leave of the previous voters before a failover, where those that follow hold an entry of the epoch though no leader
 * has told so. The previous voters may have dropped their replicas by a record that a restored store has forgotten.
 */
export function confirmHeld(context: Context, state: PartitionState): boolean {
  const record = state.record!;
  if (record.leader === null || record.previousVoters.length === 0) return false;
  const held = isHeldByQuorum(record, (replica) =>
    context.nodes.health(state.partition, replica) === 'healthy'
      ? context.nodes.reportOf(state.partition, replica)
      : undefined,
  );
  if (held) writeRecord(context, state, confirmEstablished(record));
  return held;
}

/** One step of an epoch that has no leader yet: seal, wait for quorums and grace, choose. */
export function revoke(context: Context, state: PartitionState, now: number): void {
  const record = state.record!;
  if (record.epoch === 0) {
    reserveFirst(context, state, 'new partition');
    return;
  }
  if (neverLed(record) && replaceLostUnled(context, record) !== null) {
    reserveFirst(context, state, 'a voter was lost before the first leader');
    return;
  }
  if (state.foundLeaderless) {
    // Joining is for duelling controllers. Found at the start, the reservation may be all that a restored store
    // remembers of an epoch that had a leader, and equal epochs are answered again by replicas without its entries.
    reserveEpoch(context, state, 'reservation found at the start');
    return;
  }
  sendSeals(context, state, now);
  const replies = countedReplies(context, state);
  const missing = missingQuorum(record, replies);
  if (missing !== '') {
    state.quorumAt = null;
    state.unavailable = missing;
    if (giveUpVoters(context, state, now, replies)) revert(context, state);
    return;
  }
  state.quorumAt ??= now;
  if (awaitsOthers(context, state, now, replies) || awaitsOldLeader(context, state, now, replies)) return;
  choose(context, state, replies);
}

function reserveFirst(context: Context, state: PartitionState, reason: string): void {
  const replaced = replaceLostUnled(context, state.record!);
  reserveEpoch(context, state, reason, replaced ?? state.record!.voters);
}

/** While nothing was ever led, lost voters are simply made anew on the same nodes; null when none is lost. */
function replaceLostUnled(context: Context, record: PartitionRecord): Replica[] | null {
  let lost = false;
  const voters = record.voters.map((replica) => {
    if (context.nodes.health(record.partition, replica) !== 'lost') return replica;
    lost = true;
    return context.nodes.mintReplica(replica.node, context.random);
  });
  return lost ? voters : null;
}

function sendSeals(context: Context, state: PartitionState, now: number): void {
  const { partition, epoch, reservationId, configuration, voters, previousVoters } = state.record!;
  for (const replica of sealedReplicas(state.record!)) {
    const node = context.nodes.get(replica.node);
    if (node === undefined || !node.attached) continue;
    // It would not answer.
    if (!isAdmitted(context.store.node(node.id), node)) continue;
    const reply = state.replies.get(replica.id);
    // A promise of an earlier process run holds, but its boot id could not lead: ask again.
    if (reply !== undefined && reply.boot === node.boot) continue;
    const sent = state.sealed.get(replica.id);
    if (!isDue(sent, now, node.session)) continue;
    state.sealed.set(replica.id, noteSent(context, sent, now, node.session));
    const seal = {
      partition,
      replica: replica.id,
      epoch,
      reservationId,
      configuration,
      voters,
      previousVoters,
    };
    context.seals.push({ node: replica.node, seal });
  }
}

/** The answers that count: of replicas whose node is not known dead and runs as it did when it answered. */
function countedReplies(context: Context, state: PartitionState): Map<string, SealReply> {
  const counted = new Map<string, SealReply>();
  for (const replica of sealedReplicas(state.record!)) {
    const reply = state.replies.get(replica.id);
    if (reply === undefined || !context.nodes.isAlive(replica.node)) continue;
    const node = context.nodes.get(replica.node);
    if (node?.attached === true && node.boot !== reply.boot) continue;
    if (context.nodes.health(state.partition, replica) === 'lost') continue;
    counted.set(replica.id, reply);
  }
  return counted;
}

/** Returns which quorum is missing, or the empty text. */
function missingQuorum(record: PartitionRecord, replies: ReadonlyMap<string, SealReply>): string {
  for (const [name, set] of [
    ['voters', record.voters],
    ['previous voters', record.previousVoters],
  ] as const) {
    const have = set.filter((replica) => replies.has(replica.id)).length;
    if (set.length === 0 || have >= quorumSize(set.length)) continue;
    const silent = set.filter((replica) => !replies.has(replica.id)).map((replica) => replica.node);
    return `${have} of ${quorumSize(set.length)} ${name} answered; silent: ${silent.join(', ')}`;
  }
  return '';
}

/** Whether new voters that never led are to be given up because they do not answer in time. */
function giveUpVoters(
  context: Context,
  state: PartitionState,
  now: number,
  replies: ReadonlyMap<string, SealReply>,
): boolean {
  const { led, previousVoters, voters } = state.record!;
  if (led || previousVoters.length === 0) return false;
  if (now - state.configurationSince < context.options.reconfigureMs) return false;
  return voters.filter((replica) => replies.has(replica.id)).length < quorumSize(voters.length);
}

/** The grace of G3: replicas that may still answer are waited for, briefly. */
function awaitsOthers(
  context: Context,
  state: PartitionState,
  now: number,
  replies: ReadonlyMap<string, SealReply>,
): boolean {
  if (now - state.quorumAt! >= context.options.sealGraceMs) return false;
  return sealedReplicas(state.record!).some(
    (replica) =>
      !replies.has(replica.id) &&
      context.nodes.isAlive(replica.node) &&
      context.nodes.health(state.partition, replica) !== 'lost',
  );
}

/** A planned change needs the old leader's answer; without it, it goes on as an unplanned failover that says so. */
function awaitsOldLeader(
  context: Context,
  state: PartitionState,
  now: number,
  replies: ReadonlyMap<string, SealReply>,
): boolean {
  const plan = state.plan;
  if (plan === null || plan.unplanned || replies.has(plan.leader.replica)) return false;
  const since = plan.reservedAt ?? now;
  const patient = now - since < context.options.requiredSealMs;
  if (patient && context.nodes.isAlive(plan.leader.node)) return true;
  plan.unplanned = true;
  emit(context, 'error', 'planned_change_became_unplanned', {
    partition: state.partition,
    epoch: state.record!.epoch,
    node: plan.leader.node,
    reason: plan.reason,
  });
  return false;
}

/** The highest last (epoch, index) wins; ties go to whoever suits balance. */
function choose(context: Context, state: PartitionState, replies: ReadonlyMap<string, SealReply>): void {
  const record = state.record!;
  let best: { replica: Replica; reply: SealReply } | null = null;
  for (const replica of sealedReplicas(record)) {
    const reply = replies.get(replica.id);
    if (reply === undefined) continue;
    const order = best === null ? 1 : compareLogs(reply, best.reply);
    if (order > 0 || (order === 0 && suits(context, state, replica, best!.replica)))
      best = { replica, reply };
  }
  const { replica, reply } = best!;
  if (context.nodes.live(replica.node) === null) {
    // It has just gone: it comes back, or the detector's verdict takes its answer out of the count.
    state.unavailable = `winner's node ${replica.node} is not connected`;
    return;
  }
  emit(context, 'info', 'leader_chosen', {
    partition: state.partition,
    epoch: record.epoch,
    node: replica.node,
    lastEpoch: reply.lastEpoch,
    lastIndex: reply.lastIndex,
    answers: replies.size,
  });
  countLeader(context, state, replica.node);
  writeRecord(
    context,
    state,
    establish(record, { replica: replica.id, node: replica.node, boot: reply.boot }),
  );
}

function compareLogs(a: SealReply, b: SealReply): number {
  return a.lastEpoch - b.lastEpoch || a.lastIndex - b.lastIndex;
}

/** Whether `a` is the better leader than `b` when their logs are level. */
function suits(context: Context, state: PartitionState, a: Replica, b: Replica): boolean {
  const better = rank(context, state, a);
  const present = rank(context, state, b);
  for (const [index, value] of better.entries()) {
    if (value !== present[index]!) return value < present[index]!;
  }
  return a.id < b.id;
}

/** Smaller is better, first difference decides. */
function rank(context: Context, state: PartitionState, replica: Replica): number[] {
  const record = state.record!;
  const no = (condition: boolean): number => (condition ? 0 : 1);
  const first = record.configuration === 1 && state.lastLeader === null;
  return [
    no(hasReplica(record.voters, replica.id)),
    no(context.nodes.live(replica.node) !== null),
    no(!context.nodes.isDraining(replica.node)),
    no(state.plan?.preferred === replica.id),
    no(state.lastLeader?.replica === replica.id),
    no(first && record.voters[0]!.id === replica.id),
    context.leaderCounts.get(replica.node) ?? 0,
  ];
}

/** Takes an answer to a Seal. A refusal is remembered; `controller.ts` then asks the store what is true. */
export function takeSealReply(context: Context, state: PartitionState, node: string, reply: SealReply): void {
  const record = state.record;
  if (!reply.accepted) hearPromise(state, reply.promiseEpoch);
  if (record === null || record.leader !== null) return;
  if (reply.epoch !== record.epoch || reply.reservationId !== record.reservationId) return;
  const replica = sealedReplicas(record).find((candidate) => candidate.id === reply.replica);
  if (replica === undefined || replica.node !== node) return;
  if (reply.accepted) {
    state.replies.set(replica.id, reply);
    return;
  }
  state.verifiedRevision = 0;
  state.refused = `${reply.epoch}/${reply.reservationId}`;
  emit(context, 'warn', 'seal_refused', {
    partition: state.partition,
    node,
    epoch: reply.epoch,
    promiseEpoch: reply.promiseEpoch,
  });
}

/** Remembers a promise. A higher one than before makes an earlier check of the store worthless. */
export function hearPromise(state: PartitionState, epoch: number): void {
  if (epoch <= state.promiseHeard) return;
  state.promiseHeard = epoch;
  if (state.record === null || epoch > state.record.epoch) state.verifiedRevision = 0;
}

/** Returns whether `other`, a record that some store once held, says more than `record`. */
export function contradicts(other: PartitionRecord, record: PartitionRecord): boolean {
  if (other.epoch !== record.epoch) return other.epoch > record.epoch;
  if (other.reservationId !== record.reservationId) return true;
  if (other.leader !== null && !sameLeader(other.leader, record.leader)) return true;
  // Whoever knows it takes nothing of the same epoch that is not newer: learners that it never hears of would be waited for.
  if (other.revision !== record.revision) return other.revision > record.revision;
  return !sameRecord(other, record);
}

/** Returns whether something heard contradicts the record: our copy is old, or the store has forgotten. */
export function isContradicted(state: PartitionState): boolean {
  const record = state.record!;
  if (state.promiseHeard > record.epoch) return true;
  if (record.leader === null && state.refused === `${record.epoch}/${record.reservationId}`) return true;
  return state.hearsay.some((other) => contradicts(other, record));
}

/** Returns whether `voters` could be the next voters; for planners, before they promise anything. */
export function mayReconfigure(record: PartitionRecord, voters: readonly Replica[]): boolean {
  return typeof setsFor(record, voters) !== 'string';
}
