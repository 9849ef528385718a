/**
 * Linearizable reads at any voter, without a leader (Charapko, Ailijiang and Demirbas, "Linearizable quorum reads in Paxos",
 * HotStorage 2019): every voter is asked for the newest entry of its log that touches the key, decided or not. When a quorum has
 * answered, the read waits until the newest of these is decided here, and is answered from the own state.
 *
 * What was acknowledged before the read is in the logs of a quorum, so one of those who answer has it; and what is decided here
 * is committed, so that whoever reads later meets it again. An entry that was never committed may be waited for, and is then
 * truncated: after a while the voters are asked again.
 *
 * INVARIANT: only answers of a quorum of one configuration count, all given while that configuration was the last that the
 * answering replica had promised: a leader with other voters has sealed one of every such quorum before its first commit.
 */
import { RingkeepError } from '../../common/errors.ts';
import { PROBE_BYTES_MAX, PROBE_KEYS_MAX } from '../../common/limits.ts';
import { quorumSize } from '../../common/topology.ts';
import type { Probe, ProbeReply } from '../../common/wire/messages.ts';
import type { Host, RequestHandle } from './host.ts';
import type { PendingKeys } from './pending-keys.ts';
import type { Replica } from './replica.ts';

/** Rounds that may be under way at once; what arrives meanwhile waits for the next. */
const ROUNDS_MAX = 4;
/** Who has not answered a round is asked again after this, ms. */
const ROUND_RETRY_MS = 200;
/** So long may what was found not be decided here before the voters are asked again, ms; and so often. */
const RINSE_MS = 200;
const RINSES_MAX = 2;
/** Numbers of rounds of one run of the process: late answers to another run's questions must not count. */
const ROUNDS_PER_BOOT = 2 ** 32;

interface QuorumRead {
  readonly handle: RequestHandle;
  readonly key: Uint8Array;
  /** What has to be decided: of several rounds the least, since all of them began after the read. */
  newest: number;
  rinses: number;
}

interface Round {
  readonly round: number;
  readonly reads: readonly QuorumRead[];
  /** By read: the newest entry that anybody has told. */
  readonly newest: number[];
  readonly configuration: number;
  readonly voters: readonly string[];
  readonly granted: Set<string>;
  readonly refused: Set<string>;
  askedAt: number;
}

/** A read that waits for an entry to be decided here. */
interface Rinsed {
  readonly read: QuorumRead;
  readonly since: number;
}

/** The quorum reads of one replica, and its answers to those of others. */
export class QuorumReads {
  private readonly replica: Replica;
  private readonly host: Host;
  private readonly pending: PendingKeys;
  private waiting: QuorumRead[] = [];
  private readonly rounds = new Map<number, Round>();
  private rinsed: Rinsed[] = [];
  private nextRound: number;
  /** Rounds of others whose keys are being looked up, by who asked. */
  private readonly lookups = new Map<string, Set<number>>();

  constructor(replica: Replica, pending: PendingKeys) {
    this.replica = replica;
    this.host = replica.host;
    this.pending = pending;
    this.nextRound = replica.host.options.boot * ROUNDS_PER_BOOT + 1;
  }

  /** Takes a get of a client. */
  read(handle: RequestHandle, key: Uint8Array): void {
    const read = { handle, key, newest: Number.POSITIVE_INFINITY, rinses: 0 };
    if (!this.canAsk) return this.fail(read, 'the voters are being changed');
    this.waiting.push(read);
    this.host.touch(this.replica.partition);
  }

  /** This replica is one of the voters that the record names, and none of former ones may still have to be asked. */
  private get canAsk(): boolean {
    const { record, meta, usable } = this.replica;
    if (record === null || !usable || record.previousVoters.length > 0) return false;
    const isPresent = record.configuration === meta.configuration;
    return (
      isPresent &&
      this.carries(
        record.configuration,
        record.voters.map(({ id }) => id),
      )
    );
  }

  /** Whether the last promise made here is for this configuration, with this replica in it. */
  private carries(configuration: number, voters: readonly string[]): boolean {
    const { meta, usable } = this.replica;
    if (!usable || meta.configuration !== configuration || meta.voters.length !== voters.length) return false;
    return voters.includes(meta.replica) && meta.voters.every(({ id }) => voters.includes(id));
  }

  /** Starts rounds for the reads that wait. */
  flush(): void {
    while (this.waiting.length > 0 && this.rounds.size < ROUNDS_MAX) {
      if (!this.canAsk) return this.failAll('the voters are being changed');
      this.start(this.takeSome());
    }
  }

  private takeSome(): QuorumRead[] {
    let bytes = 0;
    let count = 0;
    while (count < this.waiting.length && count < PROBE_KEYS_MAX) {
      bytes += this.waiting[count]!.key.byteLength;
      if (count > 0 && bytes > PROBE_BYTES_MAX) break;
      count++;
    }
    return this.waiting.splice(0, count).filter(({ handle }) => this.host.isOpen(handle));
  }

  private start(reads: QuorumRead[]): void {
    if (reads.length === 0) return;
    const { meta } = this.replica;
    const round: Round = {
      round: this.nextRound++,
      reads,
      newest: reads.map(() => 0),
      configuration: meta.configuration,
      voters: meta.voters.map(({ id }) => id),
      granted: new Set([meta.replica]),
      refused: new Set(),
      askedAt: this.host.now,
    };
    this.rounds.set(round.round, round);
    this.ask(round);
    this.settle(round);
  }

  private ask({ round, reads, configuration, voters, granted, refused }: Round): void {
    const { partition, meta } = this.replica;
    const probe: Probe = { round, configuration, voters, keys: reads.map(({ key }) => key) };
    for (const voter of meta.voters) {
      if (granted.has(voter.id) || refused.has(voter.id)) continue;
      this.host.send(partition, meta.promiseEpoch, meta.replica, voter, { body: 'probe', probe });
    }
  }

  /** Another voter asks. */
  onProbe(from: { readonly id: string; readonly node: string }, probe: Probe): void {
    const { round, configuration, voters, keys } = probe;
    const { partition, meta, machine, host } = this.replica;
    const reply = (granted: boolean, newest: number[]): void => {
      const { log } = this.replica;
      const commitEpoch = log.epochAt(log.commitIndex) ?? 0;
      const probeReply = { round, granted, newest, commitIndex: log.commitIndex, commitEpoch };
      host.send(partition, meta.promiseEpoch, meta.replica, from, { body: 'probeReply', probeReply });
    };
    if (!this.carries(configuration, voters)) return reply(false, []);
    const lookups = this.lookups.get(from.id) ?? new Set();
    // Who gets no answer asks again: no more work for one who is slow than there is already.
    if (lookups.has(round) || lookups.size >= ROUNDS_MAX) return;
    this.lookups.set(from.id, lookups.add(round));
    const newest = keys.map((key) => this.pending.newestOf(key, machine.decidedIndex));
    let open = 1;
    let failed = false;
    const closed = (): void => {
      open--;
      if (open > 0) return;
      lookups.delete(round);
      if (lookups.size === 0) this.lookups.delete(from.id);
      // While the keys were looked up, another promise may have been made.
      if (!failed) reply(this.carries(configuration, voters), newest);
    };
    for (const [at, key] of keys.entries()) {
      if (newest[at]! > 0) continue;
      open++;
      machine.read(
        key,
        () => true,
        (error, stored) => {
          if (error !== null) failed = true;
          // A delete leaves no version behind: it may have been any entry that is decided.
          else newest[at] = stored === null ? machine.decidedIndex : stored.version;
          closed();
        },
      );
    }
    closed();
  }

  /** A voter has answered, with the epoch that it has promised. */
  onReply(from: string, epoch: number, reply: ProbeReply): void {
    this.replica.learnCommitted(epoch, reply.commitIndex, reply.commitEpoch);
    const round = this.rounds.get(reply.round);
    if (round === undefined || !round.voters.includes(from)) return;
    if (!reply.granted) {
      round.refused.add(from);
      if (round.voters.length - round.refused.size >= quorumSize(round.voters.length)) return;
      return this.abandon(round);
    }
    for (const at of round.reads.keys()) {
      round.newest[at] = Math.max(round.newest[at]!, reply.newest[at] ?? Number.POSITIVE_INFINITY);
    }
    round.granted.add(from);
    this.settle(round);
  }

  private settle(round: Round): void {
    if (round.granted.size < quorumSize(round.voters.length)) return;
    if (!this.carries(round.configuration, round.voters)) return this.abandon(round);
    this.rounds.delete(round.round);
    const { decidedIndex } = this.replica.machine;
    for (const [at, read] of round.reads.entries()) {
      const own = this.pending.newestOf(read.key, decidedIndex);
      read.newest = Math.min(read.newest, Math.max(own, round.newest[at]!));
      this.rinsed.push({ read, since: this.host.now });
    }
    this.host.touch(this.replica.partition);
  }

  /** Answers the reads for which enough is decided. */
  serve(): void {
    if (this.rinsed.length === 0) return;
    const { decidedIndex } = this.replica.machine;
    const before = this.rinsed;
    this.rinsed = before.filter(({ read }) => read.newest > decidedIndex);
    if (this.rinsed.length === before.length) return;
    for (const { read } of before) {
      if (read.newest <= decidedIndex) this.replica.gets.add(read.handle, read.key);
    }
  }

  /** Asks again where answers or entries stay away, and ends what is past its deadline. */
  tick(): void {
    const { now } = this.host;
    for (const round of this.rounds.values()) {
      // Answers to the former voters' configuration can count no more.
      if (!this.carries(round.configuration, round.voters)) this.abandon(round);
      // Each of them is told that its time is over.
      else if (round.reads.filter(({ handle }) => this.isWanted(handle)).length === 0)
        this.rounds.delete(round.round);
      else if (now - round.askedAt >= ROUND_RETRY_MS) {
        round.askedAt = now;
        round.refused.clear();
        this.ask(round);
      }
    }
    const late = this.rinsed.filter(({ since }) => now - since >= RINSE_MS);
    if (late.length > 0) {
      this.rinsed = this.rinsed.filter(({ since }) => now - since < RINSE_MS);
      for (const { read } of late) this.rinse(read);
      this.host.touch(this.replica.partition);
    }
    this.waiting = this.waiting.filter(({ handle }) => this.isWanted(handle));
  }

  /** Asks again: what was waited for may have been truncated. In the end the leader knows best. */
  private rinse(read: QuorumRead): void {
    read.rinses++;
    if (read.rinses > RINSES_MAX) this.fail(read, 'this voter does not hear what is decided');
    else this.waiting.push(read);
  }

  /** Whether somebody still waits for the answer; tells who has waited for too long. */
  private isWanted(handle: RequestHandle): boolean {
    if (!this.host.isOpen(handle)) return false;
    if (handle.deadline > this.host.now) return true;
    const message = 'no quorum of voters answered, or what they told was not decided in time';
    const details = { partition: this.replica.partition };
    this.host.fail(handle, new RingkeepError('DEADLINE_EXCEEDED', message, 'not_applied', details));
    return false;
  }

  private fail({ handle }: QuorumRead, message: string): void {
    const { partition, record } = this.replica;
    const leader = record?.leader?.node;
    const details = { partition, retryAfterMs: 5, ...(leader === undefined ? {} : { leader }) };
    this.host.fail(handle, new RingkeepError('UNAVAILABLE', message, 'not_applied', details));
  }

  private abandon(round: Round): void {
    this.rounds.delete(round.round);
    for (const read of round.reads) this.fail(read, 'the voters are being changed');
  }

  private failAll(message: string): void {
    const rounds = [...this.rounds.values()].flatMap(({ reads }) => reads);
    const rinsed = this.rinsed.map(({ read }) => read);
    for (const read of [...this.waiting, ...rounds, ...rinsed]) this.fail(read, message);
    this.waiting = [];
    this.rounds.clear();
    this.rinsed = [];
  }

  /** This replica answers nothing any more. */
  end(): void {
    this.failAll('this replica is gone');
  }
}
