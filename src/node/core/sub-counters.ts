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
    if (order.kind === 'COUNTER_LOOK') reads.confirm(() => this.look(asker, order));
    else this.look(asker, order);
  }

  private look(asker: Asker, order: CounterOrder): void {
    this.read(order, ({ open, closed }) => {
      const { kind } = order;
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
  private read({ key, set }: CounterOrder, done: (rows: Rows) => void): void {
    const { replica } = this.leadership;
    const { machine } = replica;
    const isWanted = (): boolean => replica.leadership === this.leadership;
    machine.read(openRow(set, key), isWanted, (error, open) => {
      if (error !== null || !isWanted()) return;
      if (open !== null) return done({ open, closed: null });
      machine.read(closedRow(set, key), isWanted, (failure, closed) => {
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
    const command: Command = { kind: 'sub', action, salted: Buffer.from(order.key), id: order.set };
    const index = writes.append('quorum', null, command);
    this.waiting.push({ action, index, asker, order });
  }

  /** An entry was decided: answers those whose it was. */
  decided({ command, index }: Entry): void {
    if (command.kind !== 'sub' || this.waiting.length === 0) return;
    const ready = this.waiting.filter((one) => one.index <= index);
    this.waiting = this.waiting.filter((one) => one.index > index);
    for (const { asker, order } of ready) this.look(asker, order);
  }

  private answer(asker: Asker, order: CounterOrder, row: StoredValue | null, closed: boolean): void {
    const { host, replica, epoch } = this.leadership;
    const value = narrow(countOf(row));
    const counterReply = { number: order.number, homeEpoch: asker.epoch, closed, value };
    host.send(order.home, epoch, replica.meta.replica, asker.replica, { body: 'counterReply', counterReply });
  }
}
