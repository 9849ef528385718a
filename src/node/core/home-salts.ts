/**
 * The salted keys of a partition as its leader sees them: it lets the leaders of other partitions hold copies of a key, and has all of them
 * drop these before it appends a write of the key. So while a copy can answer, the log has no newer write of its key than the copy's, and
 * whoever reads, at whatever level, sees nothing that the copy does not (docs/HOT-KEYS.md, decision 0018).
 * INVARIANT: a write of a salted key is appended only while none of its copies can answer (copy-orders.ts). Asserted in `appended`.
 * INVARIANT: an install carries what is decided, no entry of the log behind that touches the key, and a quorum has confirmed this leader
 * after the token of the install was made. A leader that was deposed meanwhile has no use for the tokens that it has.
 */
import { toLatin1 } from '../../common/bytes.ts';
import { assert, type ErrorCode, RingkeepError } from '../../common/errors.ts';
import { SALT_PROTOCOL, SALTS_MAX } from '../../common/limits.ts';
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { CopyReply, Salts } from '../../common/wire/messages.ts';
import { CopyOrders } from './copy-orders.ts';
import { type Command, type Entry, touchedKeys } from './entry.ts';
import type { RequestHandle } from './host.ts';
import type { Leadership } from './leadership.ts';
import { entryOf } from './log.ts';
import { chooseCopies } from './salt-choice.ts';
import type { SaltSet } from './salt-sets.ts';
import {
  type Change,
  type Copy,
  droppedCopy,
  isOpen,
  reportOf,
  type SaltedKey,
  type SaltReport,
  saltedKey,
  setOf,
  unknownCopy,
} from './salted-key.ts';
import type { Proposal } from './write-path.ts';

/** A key that was not written for so long gets its copies back, ms. */
const QUIET_MS = 25;
/** Writes of one key that may wait for its copies, and for how long each, ms: others need the room. A failover is over by then. */
const WAITING_MAX = 256;
const WAIT_MS = 5_000;
/** A holder that has not answered for so long is not named to readers, ms. */
const SILENT_MS = 2_500;
/** A holder that has told no token is asked for one again after this, ms. */
const TOKEN_MS = 1_000;
/** After so long, ms, an install that came to nothing is tried again. */
const INSTALL_MS = 3_000;
/** A key that was unsalted by hand is left so by the leader, ms. */
const UNWANTED_MS = 600_000;
/** A key whose copies were dropped for its value to expire has none for so long, ms. */
const EXPIRES_MS = 1_000;

/** A write that waits until no copy of its keys can answer. */
interface Waiting {
  readonly proposal: Proposal;
  /** Those of its keys that are salted. */
  readonly keys: readonly SaltedKey[];
  /** Whoever waits for longer, ms, asks again: its place is for others. */
  readonly until: number;
}

/** The salts of one leadership. */
export class HomeSalts {
  private readonly leadership: Leadership;
  private readonly orders: CopyOrders;
  /** By user key (latin1). */
  private readonly keys = new Map<string, SaltedKey>();
  /** Writes that wait until no copy of their keys can answer any more, in order; bounded like all open requests. */
  private waiting: Waiting[] = [];
  /** Until when a key is not salted by itself, ms. */
  private readonly unwanted = new Map<string, number>();

  constructor(leadership: Leadership) {
    this.leadership = leadership;
    this.orders = new CopyOrders(leadership, (salted) => this.opened(salted));
    const { machine, log } = leadership.replica;
    for (const [name, set] of machine.salts.all())
      if (set.counter === null) this.inherit(Buffer.from(name, 'latin1'), set);
    for (let index = machine.decidedIndex + 1; index <= log.lastIndex; index++) {
      const { command } = entryOf(log.at(index)!);
      if (command.kind === 'salt' && command.set.counter === null) this.inherit(command.salted, command.set);
    }
  }

  /** An earlier leader may have installed copies there. */
  private inherit(key: Uint8Array, { partitions, automatic }: SaltSet): void {
    const salted = this.keyOf(key);
    salted.automatic = automatic;
    for (const partition of partitions)
      if (!salted.copies.some((copy) => copy.partition === partition))
        salted.copies.push(unknownCopy(partition));
  }

  private keyOf(key: Uint8Array): SaltedKey {
    const name = toLatin1(key);
    const known = this.keys.get(name);
    if (known !== undefined) return known;
    // Whatever is in the log may touch the key; a new leadership begins with an entry behind all of that.
    const salted = saltedKey(key, this.leadership.replica.log.lastIndex + 1);
    this.keys.set(name, salted);
    return salted;
  }

  private find(key: Uint8Array): SaltedKey | undefined {
    return this.keys.size === 0 ? undefined : this.keys.get(toLatin1(key));
  }

  get size(): number {
    return this.keys.size;
  }

  /** Writes that wait for copies to be dropped. */
  get waitingCount(): number {
    return this.waiting.length;
  }

  /** What is salted here, for those who look at it. */
  report(): SaltReport[] {
    const { partition } = this.leadership.replica;
    return [...this.keys.values()].map((salted) => reportOf(salted, partition));
  }

  // ---------------------------------------------------------------- reads

  /** Where a key can be read as well; null: nowhere. */
  of(key: Uint8Array): Salts | null {
    const salted = this.find(key);
    if (salted === undefined) return null;
    const since = this.leadership.host.now - SILENT_MS;
    const held = salted.copies.filter(({ state, heardAt }) => state === 'held' && heardAt >= since);
    return held.length === 0 ? null : { partitions: held.map(({ partition }) => partition) };
  }

  /** Where a key has copies, or is about to have them; null: it is not salted. */
  setOf(key: Uint8Array): SaltSet | null {
    const salted = this.find(key);
    return salted === undefined ? null : setOf(salted);
  }

  /** All salted keys, and how often their copies were read since the last question. */
  takeReads(): (SaltSet & { readonly key: Uint8Array; readonly copyReads: number })[] {
    return [...this.keys.values()].map((salted) => {
      const { key, copyReads } = salted;
      salted.copyReads = 0;
      return { ...setOf(salted), key, copyReads };
    });
  }

  // ---------------------------------------------------------------- writes

  /** Takes a write that has to wait until copies of its keys are dropped; false: it has not. */
  holds(proposal: Proposal): boolean {
    if (this.keys.size === 0) return false;
    const keys = touchedKeys(proposal.command).flatMap((key) => this.find(key) ?? []);
    if (keys.every(isOpen)) return false;
    if (keys.some(({ waitingWrites }) => waitingWrites >= WAITING_MAX)) {
      this.refuse(proposal.handle, 'OVERLOADED', 'too many writes of a key wait for its copies', 50);
      return true;
    }
    this.waiting.push({
      proposal,
      keys,
      until: Math.min(proposal.handle.deadline, this.leadership.host.now + WAIT_MS),
    });
    for (const salted of keys) {
      salted.waitingWrites += 1;
      this.orders.dropAll(salted);
    }
    return true;
  }

  /** An entry that this leader has appended. */
  appended(command: Command, index: number): void {
    if (this.keys.size === 0) return;
    for (const key of touchedKeys(command)) {
      const salted = this.find(key);
      if (salted === undefined) continue;
      assert(isOpen(salted), 'a salted key is written only while no copy of it can answer');
      salted.touchedAt = index;
      salted.quietUntil = Math.max(salted.quietUntil, this.leadership.host.now + QUIET_MS);
    }
  }

  /** Whether the value of a key may be ended now; if not, its copies are dropped for that. */
  mayExpire(key: Uint8Array): boolean {
    const salted = this.find(key);
    if (salted === undefined) return true;
    // What is due is looked for again after a while.
    salted.quietUntil = this.leadership.host.now + EXPIRES_MS;
    if (isOpen(salted)) return true;
    this.orders.dropAll(salted);
    return false;
  }

  /** No copy of a key can answer any more: what has waited for that goes on. */
  private opened(salted: SaltedKey): void {
    if (!isOpen(salted)) return;
    this.propose(salted);
    if (salted.waitingWrites > 0) this.release();
  }

  private release(): void {
    const { writes, host, pauseTarget } = this.leadership;
    // They are told with the next tick that another leader is to come.
    if (pauseTarget !== '') return;
    for (const { proposal } of this.take(({ keys }) => keys.every(isOpen)))
      if (host.isOpen(proposal.handle)) writes.take(proposal);
  }

  /** Takes writes out of those that wait, in their order. */
  private take(isWanted: (waiting: Waiting) => boolean): Waiting[] {
    const taken: Waiting[] = [];
    this.waiting = this.waiting.filter((waiting) => {
      if (!isWanted(waiting)) return true;
      taken.push(waiting);
      for (const salted of waiting.keys) salted.waitingWrites -= 1;
      return false;
    });
    return taken;
  }

  // ---------------------------------------------------------------- installs

  onReply(from: ReplicaName, epoch: number, reply: CopyReply): void {
    this.orders.onReply(from, epoch, reply);
  }

  /** Gives the copies back that were dropped, once the key is quiet. */
  private install(salted: SaltedKey): void {
    const { host, replica, reads } = this.leadership;
    const isQuiet = host.now >= salted.quietUntil && replica.machine.decidedIndex >= salted.touchedAt;
    if (!isQuiet || host.now < salted.busyUntil || !this.mayInstall(salted)) return;
    const dropped = salted.copies.filter(({ state }) => state === 'dropped' || state === 'unknown');
    const ready = dropped.filter(({ state, token }) => state === 'dropped' && token !== '');
    for (const copy of dropped) {
      // One that was heard without a token cannot be reached directly.
      if (!ready.includes(copy) && host.now - copy.heardAt >= TOKEN_MS) this.orders.askToken(salted, copy);
    }
    if (ready.length === 0) return;
    salted.busyUntil = host.now + INSTALL_MS;
    const tokens = new Map(ready.map((copy) => [copy, copy.token]));
    // The tokens are older than this question: whoever leads after this leader makes them void.
    reads.confirm(() => this.read(salted, tokens));
  }

  private mayInstall(salted: SaltedKey): boolean {
    // The copies of a set that is not decided yet would not be known to the next leader.
    const isDecided = this.leadership.replica.machine.salts.has(salted.key);
    return isDecided && salted.change === null && salted.waitingWrites === 0;
  }

  private read(salted: SaltedKey, tokens: ReadonlyMap<Copy, string>): void {
    const { replica } = this.leadership;
    const { machine } = replica;
    const seenIndex = machine.decidedIndex;
    const isWanted = (): boolean => true;
    machine.read(salted.key, isWanted, (error, stored) => {
      salted.busyUntil = 0;
      const isEnded = replica.leadership !== this.leadership || this.find(salted.key) !== salted;
      if (error !== null || isEnded || seenIndex < salted.touchedAt || !this.mayInstall(salted)) return;
      const value = replica.gets.valueOf(stored, seenIndex);
      for (const [copy, token] of tokens) {
        const isOfSet = salted.copies.includes(copy);
        if (isOfSet && copy.state === 'dropped' && copy.token === token)
          this.orders.install(salted, copy, value);
      }
    });
  }

  // ---------------------------------------------------------------- the set

  /** Gives a key so many copies, or none any more, for a client, who is told once that is decided. */
  request(handle: RequestHandle, key: Uint8Array, copies: number): void {
    const { host, pauseTarget } = this.leadership;
    const refuse = (code: ErrorCode, message: string, retryAfterMs = 0): void =>
      this.refuse(handle, code, message, retryAfterMs);
    if (pauseTarget !== '') return refuse('NOT_LEADER', 'the leadership is being handed over', 5);
    if (host.diskFull) return refuse('DISK_FULL', 'the leader has no disk space', 1_000);
    const known = this.find(key);
    if (copies === 0) this.unwant(key);
    if (copies === 0 && known === undefined) return this.confirm(handle, key);
    if ((known?.change?.index ?? 0) > 0)
      return refuse('OVERLOADED', 'the copies of this key are being changed', 50);
    const trouble = copies === 0 ? '' : this.obstacle(key);
    if (trouble !== '') return refuse('UNAVAILABLE', trouble, 250);
    const partitions = copies === 0 ? [] : chooseCopies(key, copies, host);
    if (copies > 0 && partitions.length === 0)
      return refuse('UNAVAILABLE', 'no other node leads a partition that could hold a copy', 250);
    this.become(key, { partitions, automatic: false, counter: null }, handle);
  }

  /** Tells a client that nothing is to be done, once a quorum has confirmed who says so. */
  private confirm(handle: RequestHandle, key: Uint8Array): void {
    const present = this.setOf(key);
    this.leadership.reads.read(handle, () => {
      const { partitions = [] } = this.setOf(key) ?? {};
      if (sameSet(partitions, present?.partitions ?? [])) this.tell(handle, partitions);
      else this.refuse(handle, 'OVERLOADED', 'the copies of this key are being changed', 50);
    });
  }

  /** Somebody wants this key without copies: it gets none by itself for a while. */
  private unwant(key: Uint8Array): void {
    const { now } = this.leadership.host;
    for (const [name, until] of this.unwanted) if (until <= now) this.unwanted.delete(name);
    if (this.unwanted.size < SALTS_MAX) this.unwanted.set(toLatin1(key), now + UNWANTED_MS);
  }

  /** The same by itself (salt-policy.ts), where nothing is in its way. */
  adapt(key: Uint8Array, copies: number): void {
    const { host, pauseTarget } = this.leadership;
    const known = this.find(key);
    const isChanging = (known !== undefined && known.change !== null) || this.leadership.counters.has(key);
    const isBusy = pauseTarget !== '' || host.diskFull || isChanging;
    if (isBusy || (copies > 0 && this.obstacle(key) !== '')) return;
    if (known === undefined && (this.unwanted.get(toLatin1(key)) ?? 0) > host.now) return;
    const partitions = copies === 0 ? [] : chooseCopies(key, copies, host);
    if (copies > 0 && partitions.length === 0) return;
    // Spread anew, but not over fewer: the node that is missing may come back.
    if (copies > 0 && partitions.length < (known?.copies.length ?? 0)) return;
    this.become(key, { partitions, automatic: known?.automatic ?? true, counter: null }, null);
  }

  /** Why a key cannot get copies; empty: it can. */
  private obstacle(key: Uint8Array): string {
    if (!this.leadership.serving) return 'the leader is not established yet';
    const { size } = this.leadership.counters;
    if (this.find(key) === undefined && this.keys.size + size >= SALTS_MAX)
      return `a partition has at most ${SALTS_MAX} salted keys`;
    return this.leadership.strangers(SALT_PROTOCOL);
  }

  private become(key: Uint8Array, set: SaltSet, handle: RequestHandle | null): void {
    const salted = this.keyOf(key);
    const present = salted.copies.map(({ partition }) => partition);
    const isSame = sameSet(set.partitions, present) && set.automatic === salted.automatic;
    if (salted.change === null && present.length > 0 && isSame) {
      if (handle !== null) this.confirm(handle, key);
      return;
    }
    for (const before of salted.change?.handles ?? [])
      this.refuse(before, 'CANCELLED', 'the copies of the key were ordered otherwise meanwhile');
    salted.change = { set, handles: handle === null ? [] : [handle], index: 0 };
    this.orders.dropAll(salted);
    this.propose(salted);
  }

  /** Appends what a key's copies are to become, once none of the present ones can answer. */
  private propose({ key, change, copies }: SaltedKey): void {
    const { pauseTarget, host } = this.leadership;
    if (change === null || change.index > 0 || pauseTarget !== '' || host.diskFull) return;
    if (copies.some(({ state }) => state !== 'dropped')) return;
    change.index = this.leadership.writes.append('quorum', null, {
      kind: 'salt',
      salted: key,
      set: change.set,
    });
  }

  /** An entry was decided. */
  decided({ command, index }: Entry): void {
    if (command.kind !== 'salt' || command.set.counter !== null) return;
    const { salted: key, set } = command;
    const { partitions, automatic } = set;
    const salted = this.keyOf(key);
    const { change, copies: before } = salted;
    // Who removed a partition from the set before knew that it had no copy, and no token of that time is worth anything.
    const fresh = change?.index === index ? droppedCopy : unknownCopy;
    salted.copies = partitions.map(
      (partition) => before.find((copy) => copy.partition === partition) ?? fresh(partition),
    );
    salted.automatic = automatic;
    if (change?.index === index) {
      salted.change = null;
      for (const handle of change.handles) this.tell(handle, partitions);
    }
    if (partitions.length === 0 && salted.change === null) this.keys.delete(toLatin1(key));
    const { host, replica } = this.leadership;
    const event = partitions.length > 0 ? 'key_salted' : 'key_unsalted';
    const copies = partitions.join(' ');
    host.event({ level: 'info', event, partition: replica.partition, automatic, copies });
    this.opened(salted);
  }

  private tell(handle: RequestHandle, partitions: readonly number[]): void {
    const { host, replica, epoch } = this.leadership;
    const version = replica.machine.decidedIndex;
    host.succeed(handle, {
      ...{ partition: replica.partition, epoch, version, index: version, durability: 'quorum', logTime: 0 },
      ...{ duplicate: false, counter: 0, conditionFailed: false, items: [], repeated: false },
      salts: { partitions: [...partitions] },
    });
  }

  // ---------------------------------------------------------------- time

  /** Repeats orders, gives copies back, and ends what is past its deadline. */
  tick(): void {
    if (this.keys.size === 0) return;
    const { serving, pauseTarget } = this.leadership;
    this.expire();
    for (const salted of [...this.keys.values()]) {
      this.orders.tick(salted);
      if (salted.change !== null || salted.waitingWrites > 0) this.orders.dropAll(salted);
      this.opened(salted);
      if (serving && pauseTarget === '') this.install(salted);
    }
  }

  private expire(): void {
    const { host, pauseTarget } = this.leadership;
    for (const { proposal, keys } of this.take(({ proposal: { handle }, until }) => {
      return pauseTarget !== '' || until <= host.now || !host.isOpen(handle);
    })) {
      if (pauseTarget !== '') this.refuse(proposal.handle, 'NOT_LEADER', 'the leader is about to change');
      else if (proposal.handle.deadline <= host.now)
        this.refuse(proposal.handle, 'DEADLINE_EXCEEDED', whyClosed(keys));
      else this.refuse(proposal.handle, 'UNAVAILABLE', whyClosed(keys), 250);
    }
    for (const salted of this.keys.values()) this.expireChange(salted);
  }

  /** Tells who has waited for too long for another set. What nobody waits for, and is not in the log yet, is given up. */
  private expireChange(salted: SaltedKey): void {
    const { change } = salted;
    if (change === null || change.handles.length === 0) return;
    const { host } = this.leadership;
    const open = change.handles.filter((handle) => host.isOpen(handle) && handle.deadline > host.now);
    for (const handle of change.handles)
      if (!open.includes(handle)) this.endChange(change, handle, 'DEADLINE_EXCEEDED', 'not in time');
    change.handles = open;
    if (open.length > 0 || change.index > 0) return;
    salted.change = null;
    if (salted.copies.length === 0) this.keys.delete(toLatin1(salted.key));
  }

  private endChange({ index }: Change, handle: RequestHandle, code: ErrorCode, why: string): void {
    const { host, replica } = this.leadership;
    const message = `the copies of the key have not changed: ${why}`;
    // What is in the log may be committed by the next leader.
    const outcome = index > 0 ? 'unknown' : 'not_applied';
    host.fail(handle, new RingkeepError(code, message, outcome, { partition: replica.partition }));
  }

  private refuse(handle: RequestHandle, code: ErrorCode, message: string, retryAfterMs = 0): void {
    const { host, replica } = this.leadership;
    const details = { partition: replica.partition, retryAfterMs };
    host.fail(handle, new RingkeepError(code, message, 'not_applied', details));
  }

  /** The leadership ends. */
  end(): void {
    for (const { proposal } of this.waiting) this.refuse(proposal.handle, 'NOT_LEADER', 'deposed');
    for (const { change } of this.keys.values())
      for (const handle of change?.handles ?? []) this.endChange(change!, handle, 'NOT_LEADER', 'deposed');
    this.waiting = [];
    this.keys.clear();
    this.orders.end();
  }
}

function whyClosed(keys: readonly SaltedKey[]): string {
  const blocking = keys.flatMap(({ copies }) => copies.filter(({ state }) => state !== 'dropped'));
  const where = blocking.map(({ partition }) => partition).join(', ');
  return `the leaders of partitions ${where}, which hold copies of the key, have not dropped them in time`;
}

function sameSet(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((partition) => b.includes(partition));
}
