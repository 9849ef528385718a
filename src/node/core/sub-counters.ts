/**
 * The sub-counters of salted counters of other partitions that are in this one, as its leader sees them: what the leader of a counter's home
 * orders is appended to this partition's log, and answered once that is decided (salt-effects.ts). Their increments are writes of clients like
 * all others. Orders may come late, again, or from a leader that is deposed: what is decided about a set is final, whoever has asked for it.
 */
import { SALT_PROTOCOL } from '../../common/limits.ts';
import { narrow } from '../../common/text.ts';
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { CounterOrder } from '../../common/wire/messages.ts';
import type { Command, Entry } from './entry.ts';
import { countOf } from './execute.ts';
import type { StoredValue } from './layout.ts';
import type { Leadership } from './leadership.ts';
import type { CounterSet } from './salt-sets.ts';
import { closedRow, openRow } from './sub-rows.ts';

type SubAction = Extract<Command, { kind: 'sub' }>['action'];

/** The leader of a counter's home. */
interface Asker {
  readonly replica: ReplicaName;
  readonly epoch: number;
}

interface Waiting {
  readonly action: SubAction;
  readonly index: number;
  asker: Asker;
  order: CounterOrder;
}

/** What there is of a sub-counter: at most one of both. */
interface Rows {
  readonly open: StoredValue | null;
  readonly closed: StoredValue | null;
}

const ACTIONS = {
  COUNTER_OPEN: 'open',
  COUNTER_CLOSE: 'close',
  COUNTER_FORGET: 'forget',
} as const satisfies Partial<Record<CounterOrder['kind'], SubAction>>;

/** The sub-counters that one leadership looks after. */
export class SubCounters {
  private readonly leadership: Leadership;
  /** Orders whose entries are not decided yet. */
  private waiting: Waiting[] = [];

  constructor(leadership: Leadership) {
    this.leadership = leadership;
  }

  /** Takes an order of the leader of a counter's home. An order that is not answered is repeated. */
  onOrder(asker: Asker, order: CounterOrder): void {
    const { serving, reads } = this.leadership;
    if (!serving) return;
    const { kind } = order;
    if (kind === 'COUNTER_ASK') reads.confirm(() => this.answerHome(asker, order));
    else if (kind === 'COUNTER_LOOK' || kind === 'COUNTER_FORGET')
      reads.confirm(() => this.look(asker, order, kind));
    else this.look(asker, order, kind);
  }

  /** Here is the home of what is asked for. */
  private answerHome(asker: Asker, order: CounterOrder): void {
    const isOfKey = this.leadership.counters.isOfKey(order.key, order.set);
    this.answer(asker, order, null, !isOfKey);
  }

  private look(asker: Asker, order: CounterOrder, kind: 'COUNTER_LOOK' | keyof typeof ACTIONS): void {
    this.read(order, ({ open, closed }) => {
      // Nobody asks for the value of a set that was never opened here, nor closes it.
      if (kind === 'COUNTER_LOOK') {
        if (open !== null || closed !== null) this.answer(asker, order, open ?? closed, closed !== null);
      } else if (this.isDone(ACTIONS[kind], { open, closed }))
        this.answer(asker, order, open ?? closed, closed !== null);
      else if (kind !== 'COUNTER_CLOSE' || open !== null) this.append(asker, order, ACTIONS[kind]);
    });
  }

  private isDone(action: SubAction, { open, closed }: Rows): boolean {
    if (action === 'open') return open !== null || closed !== null;
    if (action === 'close') return closed !== null;
    return closed === null || closed.expiresAt > 0;
  }

  /** Reads what is decided. The open row first: what is closed in between is found by its other row. */
  private read(order: CounterOrder, done: (rows: Rows) => void): void {
    const { replica } = this.leadership;
    const { machine } = replica;
    const { key } = order;
    const counter = counterOf(order);
    const isWanted = (): boolean => replica.leadership === this.leadership;
    machine.read(openRow(counter, key), isWanted, (error, open) => {
      if (error !== null || !isWanted()) return;
      if (open !== null) return done({ open, closed: null });
      machine.read(closedRow(counter, key), isWanted, (failure, closed) => {
        if (failure === null && isWanted()) done({ open, closed });
      });
    });
  }

  private append(asker: Asker, order: CounterOrder, action: SubAction): void {
    const { pauseTarget, host, writes } = this.leadership;
    const isSame = (other: Waiting): boolean =>
      other.action === action && other.order.set === order.set && other.asker.epoch === asker.epoch;
    const known = this.waiting.find(isSame);
    if (known !== undefined) {
      known.asker = asker;
      known.order = order;
      return;
    }
    if (pauseTarget !== '' || host.diskFull) return;
    // Who does not know the entry would take it for damage.
    if (action === 'open' && this.leadership.strangers(SALT_PROTOCOL) !== '') return;
    const salted = Buffer.from(order.key);
    const command: Command = { kind: 'sub', action, salted, counter: counterOf(order) };
    const index = writes.append('quorum', null, command);
    this.waiting.push({ action, index, asker, order });
  }

  /** An entry was decided: answers those whose it was. */
  decided({ command, index }: Entry): void {
    if (command.kind !== 'sub' || this.waiting.length === 0) return;
    const ready = this.waiting.filter((one) => one.index <= index);
    this.waiting = this.waiting.filter((one) => one.index > index);
    for (const { asker, order } of ready) this.onOrder(asker, order);
  }

  private answer(asker: Asker, order: CounterOrder, row: StoredValue | null, closed: boolean): void {
    const { host, replica, epoch } = this.leadership;
    const value = narrow(countOf(row));
    const counterReply = { number: order.number, homeEpoch: asker.epoch, closed, value };
    host.send(order.home, epoch, replica.meta.replica, asker.replica, { body: 'counterReply', counterReply });
  }
}

function counterOf({ set, delta }: CounterOrder): CounterSet {
  return { id: set, delta: BigInt(delta) };
}
