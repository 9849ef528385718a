/**
 * What the leader of a salted counter's home has the leaders of its sub-counters do, and what these ask of it: each order is repeated under its number until it is
 * answered, by whoever leads the partition by then. It decides nothing (home-counters.ts, counter-sums.ts).
 */
import { narrow } from '../../common/text.ts';
import type { CounterOrder, CounterOrderKind, CounterReply } from '../../common/wire/messages.ts';
import type { Leadership } from './leadership.ts';
import { targetOf } from './relay.ts';
import type { CounterSet } from './salt-sets.ts';

/** An order that is not answered is repeated after this, ms. */
const RETRY_MS = 100;

/** What the leader of a sub-counter has answered. */
export interface CounterAnswer {
  readonly closed: boolean;
  readonly value: bigint;
}

/** An order on its way. */
export interface Errand {
  /** Partition of the sub-counter. */
  readonly partition: number;
  readonly order: CounterOrder;
  readonly done: (answer: CounterAnswer) => void;
  sentAt: number;
  /** How often it was sent. */
  tries: number;
}

/** The orders of one leadership. */
export class CounterOrders {
  private readonly leadership: Leadership;
  private last = 0;
  /** Those that are not answered yet, by number. */
  private readonly errands = new Map<number, Errand>();

  constructor(leadership: Leadership) {
    this.leadership = leadership;
  }

  /** Has something done with one sub-counter of a set, and tells the answer once, unless it is called off. */
  order(
    kind: CounterOrderKind,
    key: Uint8Array,
    counter: CounterSet,
    partition: number,
    done: (answer: CounterAnswer) => void,
  ): Errand {
    this.last += 1;
    const { replica, host } = this.leadership;
    const order = {
      kind,
      home: replica.partition,
      number: this.last,
      key,
      set: counter.id,
      delta: narrow(counter.delta),
    };
    const errand: Errand = { partition, order, done, sentAt: host.now, tries: 0 };
    this.errands.set(order.number, errand);
    this.send(errand);
    return errand;
  }

  /** Its answer is not wanted any more. */
  callOff({ order }: Errand): void {
    this.errands.delete(order.number);
  }

  private send(errand: Errand): void {
    const { host, replica, epoch } = this.leadership;
    const { partition, order } = errand;
    errand.sentAt = host.now;
    const to = targetOf(host.recordOf(partition), host.options.nodeId, errand.tries);
    errand.tries += 1;
    if (to === null) return;
    host.send(partition, epoch, replica.meta.replica, to, { body: 'counterOrder', counterOrder: order });
  }

  onReply({ number, homeEpoch, closed, value }: CounterReply): void {
    const errand = this.errands.get(number);
    if (homeEpoch !== this.leadership.epoch || errand === undefined) return;
    this.errands.delete(number);
    errand.done({ closed, value: BigInt(value) });
  }

  tick(): void {
    const before = this.leadership.host.now - RETRY_MS;
    for (const errand of this.errands.values()) if (errand.sentAt <= before) this.send(errand);
  }

  end(): void {
    this.errands.clear();
  }
}
