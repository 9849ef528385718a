/**
 * The leader's part of the scrub: proposes one now and then and when it is asked to, collects what the voters tell, and
 * judges. It never waits for ever: who is not heard of any more is left out, and the verdict says so.
 * INVARIANT: a replica is called damaged by its peers only against equal hashes of a quorum of voters; without one, the
 * disagreement is reported and nothing else happens.
 * INVARIANT: one round at a time; who asks meanwhile is told of that one.
 */
import { SCRUB_PROTOCOL, SCRUB_SILENT_MS } from '../../common/limits.ts';
import { blankScrub } from '../../common/scrub.ts';
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { PartitionScrub, ScrubState } from '../../common/wire/admin-messages.ts';
import type { Scrub } from '../../common/wire/messages.ts';
import type { Leadership } from './leadership.ts';

/** A voter that sends nothing at all for so long does not scrub either. */
const UNHEARD_MS = 3_000;
/** A verdict is told again this often, in case it was lost. */
const REPEAT_MS = 1_000;
/** Whoever is still heard of so long after a verdict has not taken it: it was restarted, and knows of no scrub any more. */
const IGNORED_MS = 5_000;
/** A voter that speaks an earlier version says nothing before its end: it gets so many times what the first to end has taken. */
const QUIET_FACTOR = 4;

/** What a voter has told of the present round. */
interface Look {
  readonly voter: ReplicaName;
  /** Empty until it is known. */
  hash: string;
  damaged: boolean;
  newsAt: number;
}

function nodesOf(replicas: readonly ReplicaName[]): string {
  return replicas.map(({ node }) => node).join(', ');
}

/** The rounds of one leadership, one after the other. */
export class ScrubRound {
  private readonly leadership: Leadership;
  private nextAt: number;
  private running = false;
  private beganAt = 0;
  /** What the first voter to end has taken, ms; Infinity: none has. */
  private firstMs = Number.POSITIVE_INFINITY;
  private index = 0;
  private looks = new Map<string, Look>();
  /** Of the present round, or of the last one. */
  private status: PartitionScrub | null = null;
  /** Asked for and not begun. */
  private asked: PartitionScrub | null = null;
  /** Since when what was asked for cannot begin; Infinity: it can. */
  private blockedAt = Number.POSITIVE_INFINITY;
  /** Voters of the last round that differ, and the hash that they should have. */
  private condemned: readonly ReplicaName[] = [];
  private repeatAt = 0;
  private ignoredAt = 0;

  constructor(leadership: Leadership) {
    this.leadership = leadership;
    const { now, options } = leadership.host;
    // Spread from the start, so that the partitions of a node never scrub in step.
    this.nextAt = now + options.random() * options.scrubIntervalMs;
  }

  /** Asks for a scrub now. Returns what will be known of it, here and later on: it changes as the round goes on. */
  ask(): PartitionScrub {
    const { status } = this;
    // Those that it has found are being replaced, which ends this leadership: nothing new can be learned before.
    const found = status !== null && status.damaged.length + status.differing.length > 0;
    if (status !== null && (this.running || found)) return status;
    this.asked ??= blankScrub(this.leadership.replica.partition);
    return this.asked;
  }

  tick(): void {
    const { host } = this.leadership;
    if (this.running) this.watch();
    if (this.running) return;
    if (this.condemned.length > 0) this.insist();
    if (this.asked === null && host.now < this.nextAt) return;
    const obstacle = this.obstacle();
    if (obstacle !== '') return this.wait(obstacle);
    this.blockedAt = Number.POSITIVE_INFINITY;
    if (host.scrubs.takeTurn()) this.begin();
    else if (this.asked !== null) this.asked.reason = 'others come first';
  }

  private obstacle(): string {
    const { host, serving, pauseTarget } = this.leadership;
    if (!serving) return 'its leader has committed nothing yet';
    if (pauseTarget !== '') return 'its leader is about to change';
    return host.diskFull ? 'the disk of its leader is full' : '';
  }

  private wait(obstacle: string): void {
    const { asked } = this;
    const { now } = this.leadership.host;
    if (asked === null) return;
    asked.reason = obstacle;
    this.blockedAt = Math.min(this.blockedAt, now);
    if (now - this.blockedAt < SCRUB_SILENT_MS) return;
    asked.state = 'SCRUB_UNDECIDED';
    this.asked = null;
    this.blockedAt = Number.POSITIVE_INFINITY;
  }

  private begin(): void {
    const { host, voters, writes, replica } = this.leadership;
    const { now, options } = host;
    this.nextAt = now + options.scrubIntervalMs;
    this.looks = new Map(
      voters.map((voter) => [voter.id, { voter, hash: '', damaged: false, newsAt: now }] as const),
    );
    this.condemned = [];
    this.status = this.asked ?? blankScrub(replica.partition);
    this.asked = null;
    this.running = true;
    this.beganAt = now;
    this.firstMs = Number.POSITIVE_INFINITY;
    this.index = writes.append('quorum', null, { kind: 'scrub' });
    Object.assign(this.status, { index: this.index, voters: voters.length, reason: '' });
  }

  /** Takes what a replica tells of the present round. */
  answer(from: string, scrub: Scrub): void {
    const look = this.looks.get(from);
    const index = scrub.index === 0 ? scrub.underWay : scrub.index;
    const { status } = this;
    if (!this.running || index !== this.index || look === undefined || status === null) return;
    if (look.hash !== '' || look.damaged) return;
    const { now } = this.leadership.host;
    look.newsAt = now;
    look.hash = scrub.hash;
    look.damaged = scrub.damaged;
    if (look.hash !== '') this.firstMs = Math.min(this.firstMs, now - this.beganAt);
    status.rows = Math.max(status.rows, scrub.rows);
    status.bytes = Math.max(status.bytes, scrub.bytes);
    if (this.unanswered().length === 0) this.conclude();
  }

  private unanswered(): Look[] {
    return [...this.looks.values()].filter(({ hash, damaged }) => hash === '' && !damaged);
  }

  /** Ends a round in which nothing more is to be expected. */
  private watch(): void {
    const { now } = this.leadership.host;
    for (const look of this.unanswered()) {
      const { heard, begun } = this.stateOf(look.voter);
      const silentMs = this.silentMs(look.voter);
      // It has the entry still before it.
      if (heard && !begun) look.newsAt = now;
      if (heard && now - look.newsAt < silentMs) return;
    }
    this.conclude();
  }

  /** So long a voter that has begun may say nothing. */
  private silentMs({ node }: ReplicaName): number {
    const { host } = this.leadership;
    const quietMs = host.protocols.of(node) < SCRUB_PROTOCOL ? QUIET_FACTOR * this.firstMs : 0;
    return Math.min(SCRUB_SILENT_MS + quietMs, host.options.scrubIntervalMs);
  }

  private stateOf({ id }: ReplicaName): { heard: boolean; begun: boolean } {
    const { progress, host, replica } = this.leadership;
    const other = progress.get(id);
    if (other === undefined) {
      const heard = this.leadership.hasQuorumContact();
      return { heard, begun: replica.machine.decidedIndex >= this.index };
    }
    return { heard: host.now - other.lastHeardAt < UNHEARD_MS, begun: other.appliedIndex >= this.index };
  }

  /** Judges by what has come; who has not answered is left out. */
  private conclude(): void {
    const { leadership, status } = this;
    if (status === null) return;
    this.stop();
    const looks = [...this.looks.values()];
    const hashed = looks.filter(({ hash }) => hash !== '');
    const counts = new Map<string, number>();
    for (const { hash } of hashed) counts.set(hash, (counts.get(hash) ?? 0) + 1);
    const right = [...counts].find(([, count]) => count >= leadership.quorum)?.[0];
    const odd = right === undefined ? [] : hashed.filter(({ hash }) => hash !== right);
    const damaged = looks.filter((look) => look.damaged).map(({ voter }) => voter);
    const silent = this.unanswered().map(({ voter }) => voter);
    status.hash = right ?? '';
    status.damaged = damaged;
    status.differing = odd.map(({ voter }) => voter);
    const reasons = [];
    if (counts.size > 1 && right === undefined)
      reasons.push(`${counts.size} different hashes, and no quorum`);
    if (silent.length > 0)
      reasons.push(`no answer from ${nodesOf(silent)}; ${hashed.length} of ${looks.length} compared`);
    this.finish(status, stateOf(status, counts.size, silent.length), reasons.join('; '));
    this.condemned = status.differing;
    this.ignoredAt = leadership.host.now + IGNORED_MS;
    this.condemn();
  }

  /** Repeats the verdict; where it does not arrive, the next round begins at once. */
  private insist(): void {
    const { host, progress } = this.leadership;
    const heardAt = this.condemned.map(({ id }) => progress.get(id)?.lastHeardAt ?? 0);
    if (Math.max(...heardAt) > this.ignoredAt) {
      this.condemned = [];
      this.nextAt = host.now;
    } else if (host.now >= this.repeatAt) this.condemn();
  }

  private stop(): void {
    this.running = false;
    this.leadership.host.scrubs.endTurn();
  }

  private finish(status: PartitionScrub, state: ScrubState, reason: string): void {
    const { host } = this.leadership;
    status.state = state;
    status.reason = reason;
    const { partition, index, rows, bytes, differing, damaged } = status;
    const { level, event } = EVENTS[state];
    const result = state.replace('SCRUB_', '').toLowerCase();
    const found = [...damaged, ...differing].map(({ id }) => id).join(' ');
    host.event({ level, event, partition, index, result, rows, bytes, replicas: found, reason });
  }

  /** Tells those that differ, and ends the own replica if it is one of them. */
  private condemn(): void {
    const { leadership, status } = this;
    const { replica, host } = leadership;
    if (status === null) return;
    this.repeatAt = host.now + REPEAT_MS;
    const { index, hash } = status;
    for (const voter of this.condemned) {
      const scrub = { index, hash, damaged: true, underWay: 0, rows: 0, bytes: 0 };
      if (voter.id !== replica.meta.replica) leadership.send(voter, { body: 'scrub', scrub });
    }
    if (this.condemned.some(({ id }) => id === replica.meta.replica))
      replica.markDamaged(`its rows at ${index} differ from those of a quorum`);
  }

  /** The leadership has ended. What its own replica has met by then stands; the rest is not decided. */
  end(): void {
    const { asked, status } = this;
    this.asked = null;
    this.condemned = [];
    if (asked !== null) Object.assign(asked, { state: 'SCRUB_UNDECIDED', reason: 'its leader has changed' });
    if (!this.running || status === null) return;
    if ([...this.looks.values()].some(({ damaged }) => damaged)) return this.conclude();
    this.stop();
    this.finish(status, 'SCRUB_UNDECIDED', 'its leader has changed');
  }
}

const EVENTS: Readonly<Record<ScrubState, { level: 'info' | 'warn' | 'error'; event: string }>> = {
  SCRUB_RUNNING: { level: 'info', event: 'scrub_running' },
  SCRUB_AGREED: { level: 'info', event: 'scrub_agreed' },
  SCRUB_DIFFERS: { level: 'error', event: 'scrub_differs' },
  SCRUB_DAMAGED: { level: 'error', event: 'scrub_damaged' },
  SCRUB_NO_QUORUM: { level: 'error', event: 'scrub_differs' },
  SCRUB_UNDECIDED: { level: 'warn', event: 'scrub_undecided' },
  SCRUB_UNAVAILABLE: { level: 'warn', event: 'scrub_undecided' },
};

function stateOf(status: PartitionScrub, kinds: number, silent: number): ScrubState {
  if (status.damaged.length > 0) return 'SCRUB_DAMAGED';
  if (status.differing.length > 0) return 'SCRUB_DIFFERS';
  if (kinds > 1) return 'SCRUB_NO_QUORUM';
  return silent > 0 ? 'SCRUB_UNDECIDED' : 'SCRUB_AGREED';
}
