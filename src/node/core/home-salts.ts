/**
 * The salted keys of a partition as its leader sees them: it lets the leaders of other partitions hold copies of a key, and has all of them
 * drop these before it appends a write of the key. So while a copy can answer, the log has no newer write of its key than the copy's, and
 * whoever reads, at whatever level, sees nothing that the copy does not (docs/HOT-KEYS.md, decision 0018).
 * INVARIANT: a write of a salted key is appended only while each of its copies is known to be gone: dropped by the leader that holds it, or by
 * a confirmed one, or in a partition whose next leader is established. Asserted in `appended`.
 * INVARIANT: an install carries what is decided, no entry of the log behind that touches the key, and a quorum has confirmed this leader
 * after the token of the install was made. A leader that was deposed meanwhile has no use for the tokens that it has.
 */
import { toLatin1 } from '../../common/bytes.ts';
import { assert, type ErrorCode, RingkeepError } from '../../common/errors.ts';
import { SALT_PROTOCOL, SALTS_MAX } from '../../common/limits.ts';
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { CopyOrder, CopyOrderKind, CopyReply, Salts, Value } from '../../common/wire/messages.ts';
import { type Command, type Entry, touchedKeys } from './entry.ts';
import type { RequestHandle } from './host.ts';
import { splitUserKey } from './layout.ts';
import type { Leadership } from './leadership.ts';
import { entryOf } from './log.ts';
import { chooseCopies } from './salt-choice.ts';
import type { Proposal } from './write-path.ts';

/** An order that is not answered is repeated after this, ms. */
const ORDER_RETRY_MS = 100;
/** A key that was not written for so long gets its copies back, ms. */
const QUIET_MS = 25;
/** How often holders are asked whether they still hold a copy, and how often it was read, ms. */
const LOOK_MS = 1_000;
/** A holder that has not answered for so long is not named to readers, ms. */
const SILENT_MS = 2_500;
/** After so long, ms, an install that came to nothing is tried again. */
const INSTALL_MS = 3_000;
/** After an install that was refused, and after a key was opened for its value to expire, it is left alone for so long, ms. */
const PAUSE_MS = 1_000;

/** One copy of one key. */
interface Copy {
  readonly partition: number;
  /**
   * `dropped`: it can answer nothing, and `token` is that of its next install, if there is one. `sent`: its install is under way. `held`:
   * it is there, or was when its holder answered last. `unknown`: an earlier leader may have installed it.
   */
  state: 'unknown' | 'dropped' | 'sent' | 'held';
  token: string;
  /** Who has answered last, in which epoch of its partition. */
  holder: ReplicaName | null;
  epoch: number;
  heardAt: number;
  /** The order that is not answered yet; 0: none. */
  order: number;
  ordered: CopyOrderKind;
  orderedAt: number;
}

/** What a key's copies are to become. */
interface Change {
  readonly partitions: readonly number[];
  readonly handles: RequestHandle[];
  /** Of its entry; 0: not appended yet. */
  index: number;
}

interface SaltedKey {
  readonly key: Uint8Array;
  copies: Copy[];
  /** The newest entry that may touch the key. */
  touchedAt: number;
  /** No copy is installed before this time, ms. */
  quietUntil: number;
  /** An install is being prepared, until then at most, ms. */
  busyUntil: number;
  change: Change | null;
  /** Gets that its copies have answered, as far as they have told. */
  copyReads: number;
}

/** One salted key, as others are told. */
export interface SaltReport {
  readonly keyspace: string;
  readonly key: Uint8Array;
  /** Its home. */
  readonly partition: number;
  /** `held`: as far as the home knows, it answers reads. */
  readonly copies: readonly { readonly partition: number; readonly held: boolean }[];
  /** Writes that wait for copies to be dropped. */
  readonly waitingWrites: number;
}

/** The salts of one leadership. */
export class HomeSalts {
  private readonly leadership: Leadership;
  /** By user key (latin1). */
  private readonly keys = new Map<string, SaltedKey>();
  /** Writes that wait until no copy of their keys can answer any more, in order; bounded like all open requests. */
  private waiting: Proposal[] = [];
  private orders = 0;
  /** Orders that are not answered yet. */
  private readonly asked = new Map<number, { readonly salted: SaltedKey; readonly copy: Copy }>();

  constructor(leadership: Leadership) {
    this.leadership = leadership;
    const { machine, log } = leadership.replica;
    for (const [name, partitions] of machine.salts.all())
      this.inherit(Buffer.from(name, 'latin1'), partitions);
    for (let index = machine.decidedIndex + 1; index <= log.lastIndex; index++) {
      const { command } = entryOf(log.at(index)!);
      if (command.kind === 'salt') this.inherit(command.salted, command.partitions);
    }
  }

  /** An earlier leader may have installed copies there. */
  private inherit(key: Uint8Array, partitions: readonly number[]): void {
    const salted = this.keyOf(key);
    for (const partition of partitions)
      if (!salted.copies.some((copy) => copy.partition === partition))
        salted.copies.push(unknownCopy(partition));
  }

  private keyOf(key: Uint8Array): SaltedKey {
    const name = toLatin1(key);
    const known = this.keys.get(name);
    if (known !== undefined) return known;
    const rest = { quietUntil: 0, busyUntil: 0, change: null, copyReads: 0 };
    // Whatever the log held when this leadership began may touch the key: the entry that it begins with is behind all of that.
    const { log } = this.leadership.replica;
    const salted = { key: Buffer.from(key), copies: [], touchedAt: log.lastIndex + 1, ...rest };
    this.keys.set(name, salted);
    return salted;
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
    return [...this.keys.values()].map(({ key, copies }) => ({
      ...splitUserKey(key),
      partition,
      copies: copies.map(({ partition: at, state }) => ({ partition: at, held: state === 'held' })),
      waitingWrites: this.waiting.filter(({ command }) => touchesKey(command, toLatin1(key))).length,
    }));
  }

  // ---------------------------------------------------------------- reads

  /** Where a key can be read as well; null: nowhere. */
  of(key: Uint8Array): Salts | null {
    if (this.keys.size === 0) return null;
    const salted = this.keys.get(toLatin1(key));
    if (salted === undefined) return null;
    const since = this.leadership.host.now - SILENT_MS;
    const held = salted.copies.filter(({ state, heardAt }) => state === 'held' && heardAt >= since);
    return held.length === 0 ? null : { partitions: held.map(({ partition }) => partition) };
  }

  // ---------------------------------------------------------------- writes

  /** Takes a write that has to wait until copies of its keys are dropped; false: it has not. */
  holds(proposal: Proposal): boolean {
    if (this.keys.size === 0 || !this.isClosed(proposal.command)) return false;
    this.waiting.push(proposal);
    this.open(proposal.command);
    return true;
  }

  /** Whether a copy of a key that the command touches may answer. */
  private isClosed(command: Command): boolean {
    return touchedKeys(command).some((key) => {
      const salted = this.keys.get(toLatin1(key));
      return salted !== undefined && !isOpen(salted);
    });
  }

  private open(command: Command): void {
    for (const key of touchedKeys(command)) {
      const salted = this.keys.get(toLatin1(key));
      if (salted !== undefined) this.dropAll(salted);
    }
  }

  /** An entry that this leader has appended. */
  appended(command: Command, index: number): void {
    if (this.keys.size === 0) return;
    for (const key of touchedKeys(command)) {
      const salted = this.keys.get(toLatin1(key));
      if (salted === undefined) continue;
      assert(isOpen(salted), 'a salted key is written only while no copy of it can answer');
      salted.touchedAt = index;
      salted.quietUntil = Math.max(salted.quietUntil, this.leadership.host.now + QUIET_MS);
    }
  }

  /** Whether the value of a key may be ended now; if not, its copies are dropped for that. */
  mayExpire(key: Uint8Array): boolean {
    const salted = this.keys.size === 0 ? undefined : this.keys.get(toLatin1(key));
    if (salted === undefined) return true;
    // What is due is looked for again after a while.
    salted.quietUntil = this.leadership.host.now + PAUSE_MS;
    if (isOpen(salted)) return true;
    this.dropAll(salted);
    return false;
  }

  /** Copies were dropped: takes the writes that have waited for that. */
  private release(): void {
    if (this.waiting.length === 0) return;
    const { writes, host } = this.leadership;
    const waiting = this.waiting;
    this.waiting = [];
    for (const proposal of waiting) {
      if (!host.isOpen(proposal.handle)) continue;
      if (this.isClosed(proposal.command)) this.waiting.push(proposal);
      else writes.take(proposal);
    }
  }

  // ---------------------------------------------------------------- orders

  private dropAll(salted: SaltedKey): void {
    for (const copy of salted.copies) if (copy.state !== 'dropped') this.order(salted, copy, 'COPY_DROP');
  }

  /** Sends an order to the leader of a copy's partition, unless the same one is under way. */
  private order(salted: SaltedKey, copy: Copy, kind: CopyOrderKind, value: Value | null = null): void {
    const { host, replica, epoch } = this.leadership;
    const isUnderWay = copy.order > 0 && host.now - copy.orderedAt < ORDER_RETRY_MS;
    if (isUnderWay && (copy.ordered === kind || copy.ordered === 'COPY_DROP')) return;
    const record = host.recordOf(copy.partition);
    // An install goes to the one whose token it has.
    const to = kind === 'COPY_INSTALL' ? copy.holder : leaderOf(record?.leader);
    this.asked.delete(copy.order);
    this.orders += 1;
    copy.order = this.orders;
    copy.ordered = kind;
    copy.orderedAt = host.now;
    if (to === null) return;
    this.asked.set(copy.order, { salted, copy });
    const token = kind === 'COPY_INSTALL' ? copy.token : '';
    const confirm = kind === 'COPY_DROP' && copy.state === 'unknown';
    const home = replica.partition;
    const copyOrder: CopyOrder = { kind, home, number: copy.order, key: salted.key, confirm, token, value };
    host.send(copy.partition, epoch, replica.meta.replica, to, { body: 'copyOrder', copyOrder });
  }

  /** The leader `from` of a copy's partition, in its epoch, has carried out an order. */
  onReply(from: ReplicaName, epoch: number, reply: CopyReply): void {
    if (reply.homeEpoch !== this.leadership.epoch) return;
    const asked = this.asked.get(reply.number);
    // One of an epoch below: a copy that was installed since would not be known to it.
    if (asked === undefined || epoch < asked.copy.epoch) return;
    const { salted, copy } = asked;
    this.asked.delete(reply.number);
    copy.order = 0;
    copy.heardAt = this.leadership.host.now;
    if (copy.ordered === 'COPY_DROP') {
      copy.state = 'dropped';
      copy.token = reply.token;
      copy.holder = from;
      copy.epoch = epoch;
      this.opened(salted);
    } else if (reply.held) {
      if (copy.state === 'sent') copy.state = 'held';
      salted.copyReads += reply.reads;
    } else {
      // Not there, or not yet: only a token that is void keeps a late install away.
      if (copy.ordered === 'COPY_INSTALL') salted.quietUntil = this.leadership.host.now + PAUSE_MS;
      this.order(salted, copy, 'COPY_DROP');
    }
  }

  /** A copy of the key can answer no more. */
  private opened(salted: SaltedKey): void {
    if (!isOpen(salted)) return;
    this.propose(salted);
    this.release();
  }

  // ---------------------------------------------------------------- installs

  /** Gives the copies back that were dropped, once the key is quiet. */
  private install(salted: SaltedKey): void {
    const { leadership } = this;
    const { host, replica, reads } = leadership;
    const isQuiet = host.now >= salted.quietUntil && replica.machine.decidedIndex >= salted.touchedAt;
    if (!isQuiet || host.now < salted.busyUntil || salted.change !== null || leadership.pauseTarget !== '')
      return;
    // The copies of a set that is not decided yet would not be known to the next leader.
    const isDecided = replica.machine.salts.has(salted.key);
    if (!isDecided || this.isAwaited(salted)) return;
    const ready = salted.copies.filter(({ state, token }) => state === 'dropped' && token !== '');
    for (const copy of salted.copies)
      if (!ready.includes(copy) && copy.state !== 'held') this.order(salted, copy, 'COPY_DROP');
    if (ready.length === 0) return;
    salted.busyUntil = host.now + INSTALL_MS;
    const tokens = new Map(ready.map((copy) => [copy, copy.token]));
    // The tokens are older than this question: whoever leads after this leader makes them void.
    reads.confirm(() => this.read(salted, tokens));
  }

  private isAwaited(salted: SaltedKey): boolean {
    const name = toLatin1(salted.key);
    return this.waiting.some(({ command }) => touchesKey(command, name));
  }

  private read(salted: SaltedKey, tokens: ReadonlyMap<Copy, string>): void {
    const { replica } = this.leadership;
    const seenIndex = replica.machine.decidedIndex;
    const wanted = (): boolean => true;
    replica.machine.read(salted.key, wanted, (error, stored) => {
      salted.busyUntil = 0;
      const isSame = seenIndex >= salted.touchedAt && this.keys.get(toLatin1(salted.key)) === salted;
      const isEnded = replica.leadership !== this.leadership;
      if (error !== null || isEnded || !isSame || salted.change !== null || this.isAwaited(salted)) return;
      const value = replica.gets.valueOf(stored, seenIndex);
      for (const [copy, token] of tokens) {
        if (copy.state !== 'dropped' || copy.token !== token) continue;
        // From here on it may answer.
        copy.state = 'sent';
        this.order(salted, copy, 'COPY_INSTALL', value);
      }
    });
  }

  // ---------------------------------------------------------------- the set

  /** Gives a key so many copies, or none any more; answers once that is decided. */
  request(handle: RequestHandle, key: Uint8Array, copies: number): void {
    const { host, replica, pauseTarget } = this.leadership;
    const refuse = (code: ErrorCode, message: string, retryAfterMs = 0): void =>
      host.fail(
        handle,
        new RingkeepError(code, message, 'not_applied', { partition: replica.partition, retryAfterMs }),
      );
    if (pauseTarget !== '') return refuse('NOT_LEADER', 'the leadership is being handed over', 5);
    if (host.diskFull) return refuse('DISK_FULL', 'the leader has no disk space', 1_000);
    const known = this.keys.get(toLatin1(key));
    if ((known?.change?.index ?? 0) > 0)
      return refuse('OVERLOADED', 'the copies of this key are being changed', 50);
    if (copies === 0 && known === undefined) return this.tell(handle, []);
    if (copies > 0 && known === undefined && this.keys.size >= SALTS_MAX)
      return refuse('OVERLOADED', `a partition has at most ${SALTS_MAX} salted keys`, 1_000);
    const trouble = this.leadership.strangers(SALT_PROTOCOL);
    if (copies > 0 && trouble !== '') return refuse('UNAVAILABLE', trouble, 250);
    const chosen = copies === 0 ? [] : chooseCopies(key, copies, host);
    if (copies > 0 && chosen.length === 0)
      return refuse('UNAVAILABLE', 'no other node leads a partition that could hold a copy', 250);
    const salted = known ?? this.keyOf(key);
    const present = salted.copies.map(({ partition }) => partition);
    // As many as there are: only where two of them have come together on one node others are chosen.
    if (salted.change === null && sameSet(chosen, present)) return this.tell(handle, present);
    salted.change = { partitions: chosen, handles: [...(salted.change?.handles ?? []), handle], index: 0 };
    this.dropAll(salted);
    this.propose(salted);
  }

  /** Appends what a key's copies are to become, once none of the present ones can answer. */
  private propose(salted: SaltedKey): void {
    const { change } = salted;
    if (change === null || change.index > 0 || !isOpen(salted) || this.leadership.pauseTarget !== '') return;
    const { partitions } = change;
    change.index = this.leadership.writes.append('quorum', null, {
      kind: 'salt',
      salted: salted.key,
      partitions,
    });
    salted.touchedAt = change.index;
  }

  /** An entry was decided. */
  decided({ command, index }: Entry): void {
    if (command.kind !== 'salt') return;
    const { salted: key, partitions } = command;
    const salted = this.keyOf(key);
    const { change } = salted;
    // Whatever was there before was gone when the entry was appended. Of the new ones nobody has heard.
    const before = salted.copies;
    salted.copies = partitions.map(
      (partition) => before.find((copy) => copy.partition === partition) ?? unknownCopy(partition),
    );
    if (change !== null && change.index === index) {
      salted.change = null;
      for (const handle of change.handles) this.tell(handle, partitions);
    }
    const { host, replica } = this.leadership;
    if (partitions.length === 0 && salted.change === null) this.keys.delete(toLatin1(key));
    host.event({
      level: 'info',
      event: partitions.length > 0 ? 'key_salted' : 'key_unsalted',
      partition: replica.partition,
      ...(partitions.length > 0 ? { copies: partitions.join(' ') } : {}),
    });
    if (isOpen(salted)) this.release();
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
    const { host, serving, pauseTarget } = this.leadership;
    this.expire();
    for (const salted of this.keys.values()) {
      for (const copy of salted.copies) this.follow(copy);
      const isWanted = salted.change !== null || this.isAwaited(salted);
      if (isWanted) this.dropAll(salted);
      this.opened(salted);
      if (serving && pauseTarget === '') this.install(salted);
      for (const copy of salted.copies) {
        if (copy.state === 'sent' && copy.order > 0 && host.now - copy.orderedAt >= ORDER_RETRY_MS)
          this.order(salted, copy, 'COPY_LOOK');
        if (copy.state === 'held' && host.now - copy.heardAt >= LOOK_MS)
          this.order(salted, copy, 'COPY_LOOK');
      }
    }
  }

  /** Follows the topology: where another leader is established, a copy that was installed under an earlier one can answer nothing. */
  private follow(copy: Copy): void {
    const record = this.leadership.host.recordOf(copy.partition);
    if (copy.state === 'unknown' || record === undefined || !record.established || record.epoch <= copy.epoch)
      return;
    copy.state = 'dropped';
    copy.token = '';
    copy.epoch = record.epoch;
    this.asked.delete(copy.order);
    copy.order = 0;
  }

  private expire(): void {
    const { host, pauseTarget } = this.leadership;
    this.waiting = this.waiting.filter(({ handle, command }) => {
      if (!host.isOpen(handle)) return false;
      if (pauseTarget !== '') this.refuse(handle, 'NOT_LEADER', 'the leader is about to change');
      else if (handle.deadline <= host.now) {
        const blocking = this.closedCopies(command).join(', ');
        this.refuse(
          handle,
          'DEADLINE_EXCEEDED',
          `a copy of the key cannot be dropped: partition ${blocking}`,
        );
      } else return true;
      return false;
    });
    for (const { change } of this.keys.values()) {
      if (change === null || change.index > 0) continue;
      for (const handle of change.handles)
        if (handle.deadline <= host.now)
          this.refuse(handle, 'DEADLINE_EXCEEDED', 'a copy of the key cannot be dropped');
    }
  }

  private closedCopies(command: Command): number[] {
    return touchedKeys(command).flatMap((key) =>
      (this.keys.get(toLatin1(key))?.copies ?? [])
        .filter(({ state }) => state !== 'dropped')
        .map(({ partition }) => partition),
    );
  }

  private refuse(handle: RequestHandle, code: ErrorCode, message: string): void {
    const { host, replica } = this.leadership;
    host.fail(handle, new RingkeepError(code, message, 'not_applied', { partition: replica.partition }));
  }

  /** The leadership ends. */
  end(): void {
    for (const { handle } of this.waiting) this.refuse(handle, 'NOT_LEADER', 'deposed');
    for (const { change } of this.keys.values())
      for (const handle of change?.handles ?? []) this.refuse(handle, 'NOT_LEADER', 'deposed');
    this.waiting = [];
    this.keys.clear();
    this.asked.clear();
  }
}

function touchesKey(command: Command, name: string): boolean {
  return touchedKeys(command).some((key) => toLatin1(key) === name);
}

function unknownCopy(partition: number): Copy {
  const order = { order: 0, ordered: 'COPY_DROP' as const, orderedAt: 0 };
  return { partition, state: 'unknown', token: '', holder: null, epoch: 0, heardAt: 0, ...order };
}

/** Whether none of its copies can answer. */
function isOpen({ copies }: SaltedKey): boolean {
  return copies.every(({ state }) => state === 'dropped');
}

function leaderOf(
  leader: { readonly replica: string; readonly node: string } | null | undefined,
): ReplicaName | null {
  return leader ? { id: leader.replica, node: leader.node } : null;
}

function sameSet(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((partition) => b.includes(partition));
}
