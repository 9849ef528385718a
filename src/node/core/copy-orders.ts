/**
 * What the leader of a key's home tells the leaders that hold copies of it, and what it learns from their answers: dropped, held, or neither
 * known. It decides nothing about which copies there are to be (home-salts.ts).
 * INVARIANT: a copy counts as dropped only if its holder says so, in the epoch in which the copy was installed or a later one; if nobody knows
 * who may have installed it, only a leader says so that a quorum has confirmed since; or if another leader is established there by now.
 */
import { assert } from '../../common/errors.ts';
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { CopyOrder, CopyOrderKind, CopyReply, Value } from '../../common/wire/messages.ts';
import type { Leadership } from './leadership.ts';
import { isDirect, targetOf } from './relay.ts';
import type { Copy, SaltedKey } from './salted-key.ts';

/** An order that is not answered is repeated after this, ms, under its number: its answer may take longer. */
const ORDER_RETRY_MS = 100;
/** How often holders are asked whether they still hold a copy, and how often it was read, ms. */
const LOOK_MS = 1_000;
/** After an install that was refused the key is left alone for so long, ms: its holder may have no room. */
const REFUSED_MS = 5_000;

/** The orders of one leadership. */
export class CopyOrders {
  private readonly leadership: Leadership;
  private readonly dropped: (salted: SaltedKey) => void;
  private last = 0;
  /** Those that are not answered yet, by number. */
  private readonly asked = new Map<number, { readonly salted: SaltedKey; readonly copy: Copy }>();

  /** `dropped` is told of every copy that can answer no more. */
  constructor(leadership: Leadership, dropped: (salted: SaltedKey) => void) {
    this.leadership = leadership;
    this.dropped = dropped;
  }

  /** Has all copies of a key dropped. */
  dropAll(salted: SaltedKey): void {
    for (const copy of salted.copies) if (copy.state !== 'dropped') this.order(salted, copy, 'COPY_DROP');
  }

  /** Asks for the token of a copy's next install. */
  askToken(salted: SaltedKey, copy: Copy): void {
    this.order(salted, copy, 'COPY_DROP');
  }

  /** Installs a copy. From here on it may answer. */
  install(salted: SaltedKey, copy: Copy, value: Value): void {
    assert(copy.state === 'dropped' && copy.token !== '', 'a copy is installed under its token');
    assert(salted.copies.includes(copy), 'a copy is installed in a partition of the set');
    copy.state = 'sent';
    this.order(salted, copy, 'COPY_INSTALL', value);
  }

  /** Follows the topology, and looks after what is installed. */
  tick(salted: SaltedKey): void {
    const { now } = this.leadership.host;
    for (const copy of salted.copies) {
      this.follow(salted, copy);
      const isLost = copy.state === 'sent' && now - copy.orderedAt >= ORDER_RETRY_MS;
      if (isLost || (copy.state === 'held' && now - copy.heardAt >= LOOK_MS))
        this.order(salted, copy, 'COPY_LOOK');
    }
  }

  /** Where another leader is established, a copy that was installed under an earlier one can answer nothing. */
  private follow(salted: SaltedKey, copy: Copy): void {
    const record = this.leadership.host.recordOf(copy.partition);
    if (copy.state === 'unknown' || record?.established !== true || record.epoch <= copy.epoch) return;
    copy.state = 'dropped';
    copy.token = '';
    copy.epoch = record.epoch;
    copy.heardAt = Number.NEGATIVE_INFINITY;
    this.answered(copy);
    this.dropped(salted);
  }

  private answered(copy: Copy): void {
    this.asked.delete(copy.number);
    copy.order = 0;
  }

  /** Sends an order to the leader of a copy's partition, unless one is under way that does as well. */
  private order(salted: SaltedKey, copy: Copy, kind: CopyOrderKind, value: Value | null = null): void {
    const { host, replica, epoch } = this.leadership;
    const isUnderWay = copy.order > 0 && host.now - copy.orderedAt < ORDER_RETRY_MS;
    if (isUnderWay && (copy.ordered === kind || copy.ordered === 'COPY_DROP')) return;
    const isRepeated = copy.order > 0 && copy.ordered === kind && kind !== 'COPY_INSTALL';
    copy.tries = isRepeated && kind === 'COPY_DROP' ? copy.tries + 1 : 0;
    if (!isRepeated) {
      this.answered(copy);
      this.last += 1;
      copy.number = this.last;
    }
    copy.order = copy.number;
    copy.ordered = kind;
    copy.orderedAt = host.now;
    const isInstall = kind === 'COPY_INSTALL';
    // An install goes to the one whose token it has.
    const record = host.recordOf(copy.partition);
    const to = isInstall ? copy.holder : targetOf(record, host.options.nodeId, copy.tries);
    if (to === null) return;
    this.asked.set(copy.order, { salted, copy });
    const token = isInstall ? copy.token : '';
    const confirm = kind === 'COPY_DROP' && copy.state === 'unknown';
    const head = { kind, home: replica.partition, number: copy.order };
    const copyOrder: CopyOrder = { ...head, key: salted.key, confirm, token, value };
    host.send(copy.partition, epoch, replica.meta.replica, to, { body: 'copyOrder', copyOrder });
  }

  /** The leader `from` of a copy's partition, in its epoch, has carried out an order. */
  onReply(from: ReplicaName, epoch: number, reply: CopyReply): void {
    if (reply.homeEpoch !== this.leadership.epoch) return;
    const asked = this.asked.get(reply.number);
    // One of an earlier epoch knows nothing of what was installed since.
    if (asked === undefined || epoch < asked.copy.epoch) return;
    const { salted, copy } = asked;
    // One that was repeated is answered again, under a token that makes the one before void.
    if (copy.ordered === 'COPY_DROP') copy.order = 0;
    else this.answered(copy);
    copy.heardAt = this.leadership.host.now;
    if (copy.ordered === 'COPY_DROP') {
      copy.state = 'dropped';
      // Where it cannot be reached nothing is installed.
      copy.token = isDirect(from) ? reply.token : '';
      copy.holder = from;
      copy.epoch = epoch;
      salted.copyReads += reply.reads;
      this.dropped(salted);
    } else if (reply.held) {
      copy.state = 'held';
      salted.copyReads += reply.reads;
    } else {
      // Not there, or not yet: only a token that is void keeps a late install away.
      if (copy.ordered === 'COPY_INSTALL') salted.quietUntil = this.leadership.host.now + REFUSED_MS;
      this.order(salted, copy, 'COPY_DROP');
    }
  }

  end(): void {
    this.asked.clear();
  }
}
