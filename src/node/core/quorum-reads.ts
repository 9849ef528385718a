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
import { answerGet } from './answers.ts';
import type { Host, RequestHandle } from './host.ts';
import type { PendingKeys } from './pending-keys.ts';
import type { Replica } from './replica.ts';

/** Rounds that may be under way at once; what arrives meanwhile waits for the next. */
const ROUNDS_MAX = 4;
/** Who has not answered a round is asked again after this, ms. */
const ROUND_RETRY_MS = 200;
/** So long may what was found not be decided here before the voters are asked again, ms. */
const RINSE_MS = 200;

interface QuorumRead {
  readonly handle: RequestHandle;
  readonly key: Uint8Array;
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
  readonly newest: number;
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
  private nextRound = 1;

  constructor(replica: Replica, pending: PendingKeys) {
    this.replica = replica;
    this.host = replica.host;
    this.pending = pending;
  }

  /** Takes a get of a client. */
  read(handle: RequestHandle, key: Uint8Array): void {
    if (!this.canAsk) return this.fail({ handle, key }, 'the voters are being changed');
    this.waiting.push({ handle, key });
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
    const { meta } = this.replica;
    if (meta.configuration !== configuration || meta.voters.length !== voters.length) return false;
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
    const newest = keys.map((key) => this.pending.newestOf(key, machine.decidedIndex));
    let open = 1;
    let failed = false;
    const closed = (): void => {
      open--;
      // While the keys were looked up, another promise may have been made. Who gets no answer asks again.
      if (open === 0 && !failed) reply(this.carries(configuration, voters), newest);
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

  /** A voter has answered. */
  onReply(from: string, reply: ProbeReply): void {
    const round = this.rounds.get(reply.round);
    if (round === undefined || !round.voters.includes(from)) return;
    if (!reply.granted) {
      round.refused.add(from);
      if (round.voters.length - round.refused.size >= quorumSize(round.voters.length)) return;
      this.rounds.delete(round.round);
      for (const read of round.reads) this.fail(read, 'the voters are being changed');
      return;
    }
    for (const at of round.reads.keys()) {
      round.newest[at] = Math.max(round.newest[at]!, reply.newest[at] ?? Number.POSITIVE_INFINITY);
    }
    round.granted.add(from);
    this.replica.learnCommitted(reply.commitIndex, reply.commitEpoch);
    this.settle(round);
  }

  private settle(round: Round): void {
    if (round.granted.size < quorumSize(round.voters.length)) return;
    this.rounds.delete(round.round);
    if (!this.carries(round.configuration, round.voters)) {
      for (const read of round.reads) this.fail(read, 'the voters are being changed');
      return;
    }
    const { decidedIndex } = this.replica.machine;
    for (const [at, read] of round.reads.entries()) {
      const own = this.pending.newestOf(read.key, decidedIndex);
      this.rinsed.push({ read, newest: Math.max(own, round.newest[at]!), since: this.host.now });
    }
    this.host.touch(this.replica.partition);
  }

  /** Answers the reads for which enough is decided. */
  serve(): void {
    if (this.rinsed.length === 0) return;
    const { decidedIndex } = this.replica.machine;
    const before = this.rinsed;
    this.rinsed = before.filter(({ newest }) => newest > decidedIndex);
    if (this.rinsed.length === before.length) return;
    for (const { newest, read } of before) {
      if (newest <= decidedIndex) answerGet(this.replica, read.handle, read.key);
    }
  }

  /** Asks again where answers or entries stay away, and ends what is past its deadline. */
  tick(): void {
    const { now } = this.host;
    for (const round of this.rounds.values()) {
      if (round.reads.every(({ handle }) => !this.isWanted(handle))) this.rounds.delete(round.round);
      else if (now - round.askedAt >= ROUND_RETRY_MS) {
        round.askedAt = now;
        this.ask(round);
      }
    }
    const late = this.rinsed.filter(({ since }) => now - since >= RINSE_MS);
    if (late.length > 0) {
      this.rinsed = this.rinsed.filter(({ since }) => now - since < RINSE_MS);
      this.waiting.push(...late.map(({ read }) => read));
      this.host.touch(this.replica.partition);
    }
    this.waiting = this.waiting.filter(({ handle }) => this.isWanted(handle));
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
    const details = { partition: this.replica.partition, retryAfterMs: 20 };
    this.host.fail(handle, new RingkeepError('UNAVAILABLE', message, 'not_applied', details));
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
