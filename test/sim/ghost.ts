/**
 * The ghost of one partition: the log that is committed for good, and what its entries mean. It is written by the
 * checks alone and never read by the cluster: what a replica does is compared with it.
 * It repeats the rules of the state machine in the simplest way: an unbounded memory of request ids, a history per
 * key. Only the question whether a session still exists is asked of the production table, replayed here in log order.
 * INVARIANT: the log only grows; a request id takes effect at most once (DESIGN section 5, 11).
 */
import { toLatin1 } from '../../src/common/bytes.ts';
import { SUB_KEPT_MS } from '../../src/common/limits.ts';
import {
  type Command,
  type DueKey,
  decodeEntry,
  type Entry,
  type KeyCommand,
  keyCommands,
} from '../../src/node/core/entry.ts';
import { encodeRecord } from '../../src/node/core/once.ts';
import type { ItemResult, WriteResult } from '../../src/node/core/result.ts';
import { isSubSet, type SubSet } from '../../src/node/core/salt-sets.ts';
import type { Sessions } from '../../src/node/core/sessions.ts';
import { closedRow, isSaltCommand, openRow, type SaltCommand } from '../../src/node/core/sub-rows.ts';
import type { World } from './world.ts';

/** One state of a key: from `index` on (until the next one) it has this content. */
export interface KeyState {
  readonly index: number;
  readonly kind: 'absent' | 'value' | 'counter';
  /** latin1 of a value's bytes, decimal digits of a counter, empty when absent. */
  readonly content: string;
  /** Log time at which it goes; 0: it stays. */
  readonly expiresAt: number;
}

/** A committed entry with what it did. */
export interface GhostEntry {
  readonly entry: Entry;
  readonly hash: number;
  /** `none` for entries without a request. */
  readonly effect: 'none' | 'applied' | 'duplicate' | 'refused' | 'condition' | 'repeated';
}

/** What a write has come to that its receipt repeats: where, the version it tells, and those of a batch's operations. */
export interface Verdict {
  readonly index: number;
  readonly version: number;
  readonly items: readonly ItemResult[];
}

type Once = Extract<Command, { kind: 'once' }>;

function isBlind(command: KeyCommand): boolean {
  return (command.kind === 'put' || command.kind === 'delete') && command.condition.kind === 'none';
}

const ABSENT: KeyState = { index: 0, kind: 'absent', content: '', expiresAt: 0 };

/** Names a request across partitions and clients; the ids of simulated clients are 16 hexadecimal characters. */
export function requestName(client: string, sequence: number): string {
  return `${client}#${sequence}`;
}

function holds(command: KeyCommand, current: KeyState): boolean {
  const isPresent = current.kind !== 'absent';
  if (command.kind === 'touch' && !isPresent) return false;
  if (!('condition' in command)) return true;
  const { condition } = command;
  if (condition.kind === 'none') return true;
  if (condition.kind === 'version') return isPresent && current.index === condition.version;
  return isPresent === (condition.kind === 'exists');
}

/** Committed log and state of one partition. */
export class GhostPartition {
  readonly partition: number;
  private readonly world: World;
  private readonly log: GhostEntry[] = [];
  private readonly keys = new Map<string, KeyState[]>();
  private readonly effects = new Map<string, number>();
  private readonly refusals = new Map<string, Verdict>();
  private readonly repeats = new Map<string, Verdict>();
  /** By key of the record: what the write came to that left it. */
  private readonly records = new Map<string, { readonly fingerprint: string; readonly verdict: Verdict }>();
  private readonly sessions: Sessions;
  /** Of salted counters. */
  private readonly subSets = new Map<string, SubSet>();
  /** Requests that were told `not_applied`, by name. */
  private readonly denied = new Set<string>();

  constructor(world: World, partition: number, sessions: Sessions) {
    this.world = world;
    this.partition = partition;
    this.sessions = sessions;
  }

  /** Index of the last committed entry. */
  get length(): number {
    return this.log.length;
  }

  /** Returns the committed entry at `index`, if it is committed. */
  at(index: number): GhostEntry | undefined {
    return this.log[index - 1];
  }

  /** Epoch of a committed entry; 0 for index 0. */
  epochAt(index: number): number | undefined {
    return index === 0 ? 0 : this.log[index - 1]?.entry.epoch;
  }

  /** Commits the next entry. */
  extend(payload: Uint8Array, hash: number): void {
    const entry = decodeEntry(payload);
    const world: World = this.world;
    world.check(entry.index === this.log.length + 1, () => `ghost of p${this.partition} grows in order`);
    this.log.push({ entry, hash, effect: this.perform(entry) });
  }

  /** The index at which a request took effect. */
  effectOf(name: string): number | undefined {
    return this.effects.get(name);
  }

  /** The place at which a request was found not to hold its condition. */
  refusalOf(name: string): Verdict | undefined {
    return this.refusals.get(name);
  }

  /** What an earlier write with the same idempotency key came to, where a request was told that. */
  repeatOf(name: string): Verdict | undefined {
    return this.repeats.get(name);
  }

  /** Takes note that a client was told `not_applied`: it must not be in effect, now or later. */
  deny(name: string): void {
    this.denied.add(name);
    this.world.check(
      !this.effects.has(name),
      () =>
        `invariant 11: ${name} was told not_applied but took effect at p${this.partition}/${this.effects.get(name)}`,
    );
  }

  /** The sub-counters of a key (latin1 user key) after the last entry. */
  subSetOf(key: string): SubSet | undefined {
    return this.subSets.get(key);
  }

  /** The state of a key after the last entry. */
  lastOf(key: string): KeyState {
    return this.stateAt(key, this.log.length);
  }

  /** The state of a key after the entry at `index`. */
  stateAt(key: string, index: number): KeyState {
    const states = this.keys.get(key) ?? [];
    for (let at = states.length - 1; at >= 0; at -= 1) {
      if (states[at]!.index <= index) return states[at]!;
    }
    return ABSENT;
  }

  /** All states of a key in log order; before the first one it was absent. */
  history(key: string): readonly KeyState[] {
    return this.keys.get(key) ?? [];
  }

  /** The keys (latin1 user keys) that are present after the entry at `index`. */
  present(index: number): string[] {
    return [...this.keys.keys()].filter((key) => this.stateAt(key, index).kind !== 'absent');
  }

  /** Whether a value is present whose time was before `clock`. */
  hasOlder(clock: number): boolean {
    for (const states of this.keys.values()) {
      const { kind, expiresAt } = states.at(-1)!;
      if (kind !== 'absent' && expiresAt > 0 && expiresAt < clock) return true;
    }
    return false;
  }

  private perform(entry: Entry): GhostEntry['effect'] {
    const { command, requestId } = entry;
    if (command.kind === 'expireSessions') this.sessions.expire(command.before);
    if (command.kind === 'expireKeys') this.expire(entry, command.due);
    if (isSaltCommand(command)) this.salt(entry, command);
    if (requestId === null) return 'none';
    const name = requestName(requestId.client, requestId.sequence);
    const found = this.sessions.lookup(requestId, entry.timestamp);
    if (found.kind === 'seen') return 'duplicate';
    if (found.kind !== 'new') return 'refused';
    this.sessions.record(requestId, entry.index, false, entry.timestamp);
    const before = this.effects.get(name) ?? this.refusals.get(name)?.index;
    const where = `p${this.partition}/${entry.index}`;
    this.world.check(
      before === undefined,
      () => `invariant 11: ${name} takes effect twice: ${before} and ${where}`,
    );
    if (command.kind !== 'once') return this.execute(name, entry, command);
    const record = this.records.get(toLatin1(command.record));
    if (record === undefined || this.stateAt(toLatin1(command.record), entry.index).kind === 'absent') {
      return this.execute(name, entry, command.write, command);
    }
    if (record.fingerprint !== toLatin1(command.fingerprint)) return 'refused';
    this.repeats.set(name, record.verdict);
    return 'repeated';
  }

  /** Carries out all commands of a write or none; under an idempotency key it leaves a record. */
  private execute(
    name: string,
    entry: Entry,
    write: Command,
    once: Once | null = null,
  ): GhostEntry['effect'] {
    const { index, epoch } = entry;
    const commands = keyCommands(write);
    const failed = commands.map((command) => !holds(command, this.stateOf(command, index)));
    const isFailed = failed.includes(true);
    const versions = commands.map((command) => this.versionOf(command, index));
    if (!isFailed) {
      this.world.check(
        !this.denied.has(name),
        () => `invariant 11: ${name} was told not_applied, takes effect at p${this.partition}/${index}`,
      );
      this.effects.set(name, index);
      for (const command of commands) this.write(command, index);
    }
    const items = commands.map((command, at): ItemResult => {
      if (isFailed) return { failed: failed[at]!, version: failed[at]! ? versions[at]! : 0, counter: null };
      const { kind, content } = this.stateOf(command, index);
      const counter = command.kind === 'increment' && kind === 'counter' ? BigInt(content) : null;
      return { failed: false, version: this.versionOf(command, index), counter };
    });
    const isBatch = write.kind === 'batch';
    const told = isBatch && (isFailed || !commands.every(isBlind)) ? items : [];
    const version = isFailed ? (isBatch ? 0 : versions[0]!) : index;
    const verdict = { index, version, items: told };
    if (isFailed) this.refusals.set(name, verdict);
    if (once !== null) {
      const rest = isBatch && told.length > 0 ? { items: told } : {};
      const counter = isBatch ? null : items[0]!.counter;
      const result: WriteResult = isFailed
        ? { kind: 'condition', index, version, ...rest }
        : { kind: 'applied', index, epoch, counter, ...rest };
      this.record(once, verdict, result);
    }
    return isFailed ? 'condition' : 'applied';
  }

  private record(once: Once, verdict: Verdict, result: WriteResult): void {
    const key = toLatin1(once.record);
    this.records.set(key, { fingerprint: toLatin1(once.fingerprint), verdict });
    const content = toLatin1(encodeRecord(once.fingerprint, result));
    this.push(key, { index: verdict.index, kind: 'value', content, expiresAt: once.keptUntil });
  }

  private stateOf({ key }: KeyCommand, index: number): KeyState {
    return this.stateAt(toLatin1(key), index);
  }

  /** Version of what a key holds; 0: nothing. */
  private versionOf(command: KeyCommand, index: number): number {
    const state = this.stateOf(command, index);
    return state.kind === 'absent' ? 0 : state.index;
  }

  private expire(entry: Entry, due: readonly DueKey[]): void {
    for (const { key, expiresAt } of due) {
      const name = toLatin1(key);
      const where = `p${this.partition}/${entry.index}`;
      this.world.check(
        expiresAt > 0 && expiresAt <= entry.timestamp,
        () => `${where} ends ${name} at ${entry.timestamp}, before its time ${expiresAt}`,
      );
      const state = this.stateAt(name, entry.index);
      const ends = state.kind !== 'absent' && state.expiresAt === expiresAt;
      this.world.count(ends ? 'value expired' : 'value overwritten before its time');
      if (ends) this.push(name, { ...ABSENT, index: entry.index });
    }
  }

  /** Salted counters: their sets, and their sub-counters in other partitions. Of keys with copies nothing is to be seen. */
  private salt({ index, timestamp }: Entry, command: SaltCommand): void {
    const key = toLatin1(command.salted);
    const counter = (content: string, expiresAt = 0): KeyState => ({
      index,
      kind: 'counter',
      content,
      expiresAt,
    });
    const state = this.stateAt(key, index);
    if (command.kind === 'salt') {
      if (!isSubSet(command.set) || state.kind === 'value' || state.expiresAt > 0) return;
      this.push(key, counter(state.kind === 'absent' ? '0' : state.content));
      this.subSets.set(key, command.set);
      this.world.count('counter salted');
    } else if (command.kind === 'fold') {
      if (this.subSets.get(key)?.counter.id !== command.id) return this.world.count('counter folded before');
      this.subSets.delete(key);
      this.push(key, counter(String(BigInt(state.content) + command.sum)));
      this.world.count('counter unsalted');
    } else {
      const [open, closed] = [
        openRow(command.counter, command.salted),
        closedRow(command.counter, command.salted),
      ].map(toLatin1);
      const [counting, ended] = [this.stateAt(open!, index), this.stateAt(closed!, index)];
      const isOpen = counting.kind === 'counter';
      const isClosed = ended.kind === 'counter';
      if (command.action === 'open' && !isOpen && !isClosed) this.push(open!, counter('0'));
      if (command.action === 'close' && isOpen) {
        this.push(open!, { ...ABSENT, index });
        this.push(closed!, counter(counting.content));
      }
      if (command.action === 'forget' && isClosed && ended.expiresAt === 0)
        this.push(closed!, counter(ended.content, timestamp + SUB_KEPT_MS));
    }
  }

  private push(key: string, state: KeyState): void {
    const states = this.keys.get(key);
    if (states === undefined) this.keys.set(key, [state]);
    else states.push(state);
  }

  private write(command: KeyCommand, index: number): void {
    const key = toLatin1(command.key);
    const last = this.stateAt(key, index);
    if (command.kind === 'put') {
      const { expiresAt } = command;
      this.push(key, { index, kind: 'value', content: toLatin1(command.value), expiresAt });
    } else if (command.kind === 'delete') this.push(key, { ...ABSENT, index });
    else if (command.kind === 'touch') this.push(key, { ...last, index, expiresAt: command.expiresAt });
    else if (command.kind === 'increment') {
      this.world.check(
        last.kind !== 'value',
        () => `the workload increments a value at p${this.partition}/${index}`,
      );
      const sum = (last.kind === 'counter' ? BigInt(last.content) : 0n) + command.delta;
      const expiresAt = last.kind === 'counter' ? last.expiresAt : command.expiresAt;
      this.push(key, { index, kind: 'counter', content: String(sum), expiresAt });
    }
  }
}
