/**
 * The salted counters of a partition as its leader sees them. To salt one, it has a sub-counter opened in each partition, holds back the writes of
 * the key until it knows what that holds, and appends the set; to unsalt it, it has all of them closed, and appends one entry that adds what they have come to and ends the
 * set. Whatever leader comes next goes on from what is decided: a set that was never appended is named nowhere, and what was closed stays so.
 * INVARIANT: while a set is in the log, nothing is appended that touches its key but increments that the set allows, and its end.
 * INVARIANT: a set is appended only after all of its sub-counters are open, its end only after all of them are closed.
 */
import { toLatin1 } from '../../common/bytes.ts';
import { assert, type ErrorCode, RingkeepError } from '../../common/errors.ts';
import { SALT_PROTOCOL, SALTS_MAX } from '../../common/limits.ts';
import { isInt64, narrow } from '../../common/text.ts';
import type { CounterReply, SaltOperation, Salts } from '../../common/wire/messages.ts';
import { CounterOrders } from './counter-orders.ts';
import { CounterSums } from './counter-sums.ts';
import type { Command, Entry } from './entry.ts';
import { countOf } from './execute.ts';
import type { RequestHandle } from './host.ts';
import type { Leadership } from './leadership.ts';
import { entryOf } from './log.ts';
import { chooseCopies } from './salt-choice.ts';
import { canBeSalted } from './salt-effects.ts';
import { isSubSet, type SubSet } from './salt-sets.ts';
import {
  type CounterWish,
  counterReport,
  isOwnPart,
  isSet,
  namedKeys,
  type SaltedCounter,
  saltedCounter,
} from './salted-counter.ts';
import type { SaltReport } from './salted-key.ts';
import { incrementOf, makeSetId } from './sub-rows.ts';
import type { Proposal } from './write-path.ts';

/** Sub-counters that are not open after so long are given up, so that writes go on, ms. */
const OPEN_MS = 3_000;
/** A counter that cannot be unsalted since its sum does not fit is left alone for so long, ms. */
const OVERFLOW_MS = 1_000;
/** Sub-counters are looked at for one that an earlier leader had closed, each after so long, ms. */
const LOOK_MS = 5_000;

/** The salted counters of one leadership. */
export class HomeCounters {
  readonly sums: CounterSums;
  private readonly leadership: Leadership;
  readonly orders: CounterOrders;
  /** By user key (latin1). */
  private readonly keys = new Map<string, SaltedCounter>();
  /** Writes of keys that are about to be salted, in order; bounded like all open requests. */
  private waiting: Proposal[] = [];

  constructor(leadership: Leadership) {
    this.leadership = leadership;
    this.orders = new CounterOrders(leadership);
    this.sums = new CounterSums(leadership, this.orders, (key, set) => this.foundClosed(key, set));
    const { machine, log } = leadership.replica;
    for (const [name, set] of machine.salts.all())
      if (isSubSet(set)) this.inherit(Buffer.from(name, 'latin1'), set, 'salted');
    for (let index = machine.decidedIndex + 1; index <= log.lastIndex; index++) {
      const { command } = entryOf(log.at(index)!);
      if (command.kind === 'salt' && isSubSet(command.set))
        this.inherit(command.salted, command.set, 'setting');
    }
  }

  private inherit(key: Uint8Array, set: SubSet, phase: 'salted' | 'setting'): void {
    this.keys.set(toLatin1(key), saltedCounter(key, set, phase));
  }

  private find(key: Uint8Array): SaltedCounter | undefined {
    return this.keys.size === 0 ? undefined : this.keys.get(toLatin1(key));
  }

  get size(): number {
    return this.keys.size;
  }

  get waitingCount(): number {
    return this.waiting.length;
  }

  /** Whether a key is a salted counter, or is about to be one. */
  has(key: Uint8Array): boolean {
    return this.find(key) !== undefined;
  }

  /** What is salted here, for those who look at it. */
  report(): SaltReport[] {
    const { partition } = this.leadership.replica;
    return [...this.keys.values()].map((salted) => {
      const waiting = this.waiting.filter(({ command }) => this.named(command).includes(salted));
      return counterReport(salted, partition, waiting.length);
    });
  }

  /** Where increments of a key may go as well; null: nowhere. */
  of(key: Uint8Array): Salts | null {
    const salted = this.find(key);
    if (salted?.phase !== 'salted' || salted.isStuck) return null;
    return saltsOf(salted.set, this.leadership.replica.machine.decidedIndex);
  }

  // ---------------------------------------------------------------- writes

  private named(command: Command): SaltedCounter[] {
    return namedKeys(command).flatMap((key) => this.find(key) ?? []);
  }

  /** Takes a write of a salted counter that has to wait, or is refused; false: it is one like any other. */
  holds(proposal: Proposal): boolean {
    if (this.keys.size === 0) return false;
    const named = this.named(proposal.command);
    if (named.some(({ phase }) => phase === 'reading')) {
      this.waiting.push(proposal);
      return true;
    }
    const against = named.find((salted) => isSet(salted) && !isOwnPart(salted, proposal));
    if (against === undefined) return false;
    this.refuse(proposal.handle, 'COUNTER_SALTED', whyRefused(against.set, proposal));
    return true;
  }

  /** An entry that this leader appends. */
  appended(command: Command): void {
    if (this.keys.size === 0) return;
    for (const salted of this.named(command))
      assert(
        salted.phase === 'opening' || (isSet(salted) && incrementOf(command) !== null),
        'a salted counter is written by increments alone',
      );
  }

  /** What has waited for a key goes on. */
  private release(): void {
    const { writes, host } = this.leadership;
    const waiting = this.waiting;
    this.waiting = [];
    for (const proposal of waiting) {
      if (!host.isOpen(proposal.handle)) continue;
      if (this.named(proposal.command).some(({ phase }) => phase === 'reading')) this.waiting.push(proposal);
      else writes.take(proposal);
    }
  }

  // ---------------------------------------------------------------- what clients ask for

  /** Makes a key a salted counter, or one like any other, for a client, who is told once that is decided. */
  request(handle: RequestHandle, key: Uint8Array, operation: SaltOperation): void {
    const { host, pauseTarget } = this.leadership;
    if (pauseTarget !== '')
      return this.refuse(handle, 'NOT_LEADER', 'the leadership is being handed over', 5);
    if (host.diskFull) return this.refuse(handle, 'DISK_FULL', 'the leader has no disk space', 1_000);
    const known = this.find(key);
    const { copies } = operation;
    if (known !== undefined && known.phase !== 'salted')
      return this.refuse(handle, 'OVERLOADED', 'the sub-counters of this key are being changed', 50);
    if (copies === 0) {
      if (known === undefined) this.confirm(handle, key, null);
      else this.close(known, handle, null);
      return;
    }
    if (operation.counter !== true) {
      const message = 'the key is a counter with sub-counters, and has no copies besides: unsalt it first';
      return this.refuse(handle, 'COUNTER_SALTED', message);
    }
    if (this.leadership.salts.setOf(key) !== null)
      return this.refuse(
        handle,
        'INVALID_ARGUMENT',
        'the key has copies, and no sub-counters besides: unsalt it first',
      );
    const wish: CounterWish = { copies, delta: BigInt(operation.delta ?? 0), handle };
    if (known === undefined) return this.begin(key, wish);
    const isSame =
      known.set.counter.delta === wish.delta && known.set.partitions.length === this.most(key, copies);
    if (isSame) this.confirm(handle, key, known.set);
    else this.close(known, null, wish);
  }

  /** Tells a client that nothing is to be done, once a quorum has confirmed who says so. */
  private confirm(handle: RequestHandle, key: Uint8Array, set: SubSet | null): void {
    this.leadership.reads.read(handle, () => {
      if ((this.find(key)?.set ?? null) === set) this.tell(handle, set);
      else this.refuse(handle, 'OVERLOADED', 'the sub-counters of this key are being changed', 50);
    });
  }

  private most(key: Uint8Array, copies: number): number {
    return chooseCopies(key, copies, this.leadership.host).length;
  }

  /** Why a key cannot be salted; empty: it can. */
  private obstacle(partitions: readonly number[]): string {
    if (!this.leadership.serving) return 'the leader is not established yet';
    if (this.keys.size + this.leadership.salts.size >= SALTS_MAX)
      return `a partition has at most ${SALTS_MAX} salted keys`;
    if (partitions.length === 0) return 'no other node leads a partition that could have a sub-counter';
    return this.leadership.strangers(SALT_PROTOCOL);
  }

  // ---------------------------------------------------------------- salting

  private begin(key: Uint8Array, { copies, delta, handle }: CounterWish): void {
    const { host } = this.leadership;
    const partitions = chooseCopies(key, copies, host);
    const trouble = this.obstacle(partitions);
    if (trouble !== '') return this.refuse(handle, 'UNAVAILABLE', trouble, 250);
    const counter = { id: makeSetId(host.uniqueId(), delta), delta };
    const set: SubSet = { partitions, automatic: false, counter };
    const rest = { until: host.now + OPEN_MS, handles: [handle] };
    const salted: SaltedCounter = { ...saltedCounter(key, set, 'opening'), ...rest };
    this.keys.set(toLatin1(key), salted);
    this.open(salted);
  }

  private open(salted: SaltedCounter): void {
    const { key, set } = salted;
    let missing = set.partitions.length;
    salted.errands = set.partitions.map((partition) =>
      this.orders.order('COUNTER_OPEN', key, set.counter, partition, ({ closed }) => {
        // An id that was used before would be.
        if (!closed) missing--;
        if (missing > 0) return;
        salted.phase = 'reading';
        salted.heldAt = this.leadership.replica.log.lastIndex;
        this.read(salted);
      }),
    );
  }

  /** Reads what the key holds, once all is decided that may touch it. */
  private read(salted: SaltedCounter): void {
    const { machine } = this.leadership.replica;
    if (salted.phase !== 'reading' || salted.isReading || machine.decidedIndex < salted.heldAt) return;
    salted.isReading = true;
    const isWanted = (): boolean => this.find(salted.key) === salted;
    machine.read(salted.key, isWanted, (error, stored) => {
      salted.isReading = false;
      if (error !== null || !isWanted() || salted.phase !== 'reading') return;
      if (stored !== null && stored.kind !== 'counter')
        return this.drop(salted, 'NOT_A_COUNTER', 'the key holds a value that is no counter');
      if (!canBeSalted(stored))
        return this.drop(salted, 'INVALID_ARGUMENT', 'the counter has a time to live: let it stay first');
      this.append(salted);
    });
  }

  private append(salted: SaltedCounter): void {
    const { pauseTarget, writes } = this.leadership;
    if (pauseTarget !== '' || this.find(salted.key) !== salted) return;
    // The entry itself may be appended.
    salted.phase = 'setting';
    writes.append('quorum', null, { kind: 'salt', salted: salted.key, set: salted.set });
    this.release();
  }

  /** It is not salted after all. What was opened for it is cleared away by who has it (sub-sweep.ts). */
  private drop(salted: SaltedCounter, code: ErrorCode, message: string): void {
    for (const errand of salted.errands) this.orders.callOff(errand);
    this.keys.delete(toLatin1(salted.key));
    for (const handle of salted.handles) this.refuse(handle, code, message);
    this.release();
  }

  // ---------------------------------------------------------------- unsalting

  private close(salted: SaltedCounter, handle: RequestHandle | null, next: CounterWish | null): void {
    const { key, set } = salted;
    salted.phase = 'closing';
    salted.handles = handle === null ? [] : [handle];
    salted.next = next;
    salted.finals.clear();
    salted.errands = set.partitions.map((partition) =>
      this.orders.order('COUNTER_CLOSE', key, set.counter, partition, ({ value }) => {
        salted.finals.set(partition, value);
        this.fold(salted);
      }),
    );
  }

  /** A sub-counter is closed: an earlier leader has begun to unsalt its key. */
  private foundClosed(key: Uint8Array, set: SubSet): void {
    const salted = this.find(key);
    if (salted?.phase !== 'salted' || salted.set.counter.id !== set.counter.id) return;
    if (this.leadership.host.now >= salted.notBefore) this.close(salted, null, null);
  }

  /** Appends the end of a set, once all of its sub-counters are closed. */
  private fold(salted: SaltedCounter): void {
    const { replica, host, pauseTarget, writes } = this.leadership;
    const { key, set, finals } = salted;
    const isReady = salted.phase === 'closing' && finals.size === set.partitions.length;
    if (!isReady || salted.isReading || pauseTarget !== '' || host.diskFull) return;
    salted.isReading = true;
    const isWanted = (): boolean => this.find(key) === salted;
    replica.machine.read(key, isWanted, (error, stored) => {
      salted.isReading = false;
      if (error !== null || !isWanted() || salted.phase !== 'closing' || this.leadership.pauseTarget !== '')
        return;
      const sum = [...finals.values()].reduce((total, value) => total + value, 0n);
      if (!isInt64(sum) || !isInt64(countOf(stored) + sum)) return this.overflowed(salted);
      salted.phase = 'folding';
      writes.append('quorum', null, { kind: 'fold', salted: key, id: set.counter.id, sum });
    });
  }

  /** Its sub-counters stay closed, and are summed, until the sum fits: all increments come here, and may add anything. */
  private overflowed(salted: SaltedCounter): void {
    salted.phase = 'salted';
    salted.isStuck = true;
    salted.notBefore = this.leadership.host.now + OVERFLOW_MS;
    const handles = askersOf(salted);
    salted.handles = [];
    salted.next = null;
    const message = 'the sum of the sub-counters does not fit into 64 bits: bring it down first';
    for (const handle of handles) this.refuse(handle, 'COUNTER_OVERFLOW', message);
  }

  // ---------------------------------------------------------------- what is decided

  /** An entry was decided. */
  decided({ command }: Entry): void {
    if (this.keys.size === 0) return;
    if (command.kind === 'salt' && isSubSet(command.set)) this.decidedSet(command.salted, command.set);
    else if (command.kind === 'fold') this.decidedFold(command.salted, command.id);
    else for (const salted of this.keys.values()) if (salted.phase === 'reading') this.read(salted);
  }

  private decidedSet(key: Uint8Array, set: SubSet): void {
    const salted = this.find(key);
    if (salted?.set.counter.id !== set.counter.id) return;
    const isThere = this.leadership.replica.machine.salts.subSetOf(key)?.counter.id === set.counter.id;
    // No leader appends a set that has no effect.
    if (!isThere) return this.drop(salted, 'UNAVAILABLE', 'the key was written meanwhile');
    salted.phase = 'salted';
    for (const handle of salted.handles) this.tell(handle, set);
    salted.handles = [];
    this.event('counter_salted', set);
  }

  /** Whether this leader, which a quorum has confirmed, knows of a set in its log, or is about to append it. If not, nobody ever will. */
  isOfKey(key: Uint8Array, id: number): boolean {
    const sets = [this.find(key)?.set, this.leadership.replica.machine.salts.subSetOf(key)];
    return sets.some((set) => set?.counter.id === id);
  }

  private decidedFold(key: Uint8Array, id: number): void {
    const salted = this.find(key);
    if (salted === undefined || salted.set.counter.id !== id) return;
    if (this.leadership.replica.machine.salts.subSetOf(key) !== null) return this.overflowed(salted);
    const { set, handles, next, errands } = salted;
    for (const errand of errands) this.orders.callOff(errand);
    for (const partition of set.partitions)
      this.orders.order('COUNTER_FORGET', salted.key, set.counter, partition, () => {});
    this.keys.delete(toLatin1(key));
    for (const handle of handles) this.tell(handle, null);
    this.event('counter_unsalted', set);
    if (next !== null) this.begin(salted.key, next);
  }

  private event(event: string, { partitions, counter }: SubSet): void {
    const { host, replica } = this.leadership;
    const details = { delta: String(counter.delta), partitions: partitions.join(' ') };
    host.event({ level: 'info', event, partition: replica.partition, ...details });
  }

  onReply(reply: CounterReply): void {
    this.orders.onReply(reply);
  }

  // ---------------------------------------------------------------- time

  tick(): void {
    this.orders.tick();
    this.sums.tick();
    if (this.keys.size === 0) return;
    const { host, serving } = this.leadership;
    this.expire();
    for (const salted of [...this.keys.values()]) {
      if (!isSet(salted) && host.now >= salted.until) {
        const where = salted.set.partitions.join(', ');
        const message = `the leaders of partitions ${where} have not opened sub-counters in time`;
        this.drop(salted, 'UNAVAILABLE', message);
      }
      this.read(salted);
      this.fold(salted);
      if (!serving || salted.phase !== 'salted' || host.now < salted.lookAt) continue;
      salted.lookAt = host.now + LOOK_MS;
      this.sums.look(salted.key);
    }
  }

  private expire(): void {
    const { host, pauseTarget } = this.leadership;
    this.waiting = this.waiting.filter(({ handle }) => {
      if (!host.isOpen(handle)) return false;
      if (pauseTarget !== '') this.refuse(handle, 'NOT_LEADER', 'the leader is about to change');
      else if (handle.deadline <= host.now)
        this.refuse(handle, 'DEADLINE_EXCEEDED', 'the counter is being salted, which has taken too long');
      else return true;
      return false;
    });
    for (const salted of this.keys.values())
      for (const handle of askersOf(salted))
        if (handle.deadline <= host.now)
          this.giveUp(
            salted,
            handle,
            'DEADLINE_EXCEEDED',
            'the sub-counters of the key have not changed in time',
          );
  }

  /** Tells who waits for a change that it is not seen here any more. What has begun may yet be brought to its end, here or by the next leader. */
  private giveUp(salted: SaltedCounter, handle: RequestHandle, code: ErrorCode, message: string): void {
    const { host, replica } = this.leadership;
    const outcome = isSet(salted) ? 'unknown' : 'not_applied';
    host.fail(handle, new RingkeepError(code, message, outcome, { partition: replica.partition }));
  }

  private tell(handle: RequestHandle, set: SubSet | null): void {
    const { host, replica, epoch } = this.leadership;
    const version = replica.machine.decidedIndex;
    host.succeed(handle, {
      ...{ partition: replica.partition, epoch, version, index: version, durability: 'quorum', logTime: 0 },
      ...{ duplicate: false, counter: 0, conditionFailed: false, items: [], repeated: false },
      salts: set === null ? { partitions: [] } : saltsOf(set, version),
    });
  }

  private refuse(handle: RequestHandle, code: ErrorCode, message: string, retryAfterMs = 0): void {
    const { host, replica } = this.leadership;
    const details = { partition: replica.partition, ...(retryAfterMs > 0 ? { retryAfterMs } : {}) };
    host.fail(handle, new RingkeepError(code, message, 'not_applied', details));
  }

  /** The leadership ends. */
  end(): void {
    for (const { handle } of this.waiting) this.refuse(handle, 'NOT_LEADER', 'deposed');
    for (const salted of this.keys.values())
      for (const handle of askersOf(salted)) this.giveUp(salted, handle, 'NOT_LEADER', 'deposed');
    this.waiting = [];
    this.keys.clear();
    this.sums.end();
    this.orders.end();
  }
}

function askersOf({ handles, next }: SaltedCounter): readonly RequestHandle[] {
  return next === null ? handles : [...handles, next.handle];
}

/** `index`: of an entry that is decided, as the set is. */
function saltsOf({ partitions, counter }: SubSet, index: number): Salts {
  return { partitions: [...partitions], set: counter.id, delta: narrow(counter.delta), index };
}

function whyRefused({ counter: { delta } }: SubSet, { command, unread }: Proposal): string {
  const only = delta === 0n ? 'increments without a result' : `increments by ${delta} without a result`;
  const isOther = command.kind === 'increment' && unread !== null;
  const what = isOther ? `one by ${command.delta}` : 'anything else';
  return `the counter is salted, and takes only ${only} (\`add\`) until it is unsalted, not ${what}`;
}
