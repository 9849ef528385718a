/**
 * The copies of hot keys of other partitions that a leader holds, in memory: what they are answered from goes through this partition's
 * linearizable reads, so a copy can answer only while nobody else may lead this partition, and is gone with the leadership. Nothing of it
 * is in any log. The home's leader (home-salts.ts) says what is held; this side only keeps the tokens apart.
 * INVARIANT: a copy is installed only under the token that was made when it was dropped last, and each token serves once: an order that
 * was overtaken, repeated or sent by a deposed leader installs nothing.
 */
import { toLatin1 } from '../../common/bytes.ts';
import { RingkeepError } from '../../common/errors.ts';
import { COPIES_HELD_BYTES_MAX, COPIES_HELD_MAX } from '../../common/limits.ts';
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { CopyOrder, Request, Value } from '../../common/wire/messages.ts';
import type { RequestHandle } from './host.ts';
import { userKey } from './layout.ts';
import type { Leadership } from './leadership.ts';

interface Held {
  /** Of the leader of the key's home that was heard last. */
  readonly homeEpoch: number;
  /** Of the next install; empty once it was used. */
  token: string;
  value: Value | null;
  /** Since the home asked last. */
  reads: number;
}

/** The leader of a key's home. */
interface Asker {
  readonly replica: ReplicaName;
  readonly epoch: number;
}

/** The copies that one leadership holds. */
export class HeldCopies {
  private readonly leadership: Leadership;
  /** By user key (latin1), the one that was dropped longest ago first. */
  private readonly held = new Map<string, Held>();

  constructor(leadership: Leadership) {
    this.leadership = leadership;
  }

  /** Copies that may be read. */
  get count(): number {
    return [...this.all()].length;
  }

  /** The copies that may be read, by user key (latin1). */
  *all(): Iterable<readonly [name: string, value: Value]> {
    for (const [name, { value }] of this.held) if (value !== null) yield [name, value];
  }

  /** Takes an order of the leader of a key's home. An order that is not answered is repeated. */
  onOrder(asker: Asker, order: CopyOrder): void {
    // Not before its own reads are served: what it says of copies is as good as those.
    if (!this.leadership.serving) return;
    const name = toLatin1(order.key);
    const before = this.held.get(name);
    if (before !== undefined && before.homeEpoch > asker.epoch) return;
    if (order.kind === 'COPY_DROP') return this.drop(asker, order, name);
    if (order.kind === 'COPY_INSTALL') return this.install(asker, order, before);
    const reads = before?.reads ?? 0;
    if (before !== undefined) before.reads = 0;
    this.answer(asker, order, '', before?.value != null, reads);
  }

  private drop(asker: Asker, order: CopyOrder, name: string): void {
    const reads = this.held.get(name)?.reads ?? 0;
    this.forget(name);
    const token = this.leadership.host.uniqueId();
    this.held.set(name, { homeEpoch: asker.epoch, token, value: null, reads: 0 });
    this.makeRoom();
    const done = (): void => this.answer(asker, order, token, false, reads);
    if (order.confirm) this.leadership.reads.confirm(done);
    else done();
  }

  private forget(name: string): void {
    this.leadership.host.keyCopies.bytes -= this.held.get(name)?.value?.value.byteLength ?? 0;
    this.held.delete(name);
  }

  /** Forgets tokens, oldest first: their installs are refused, and asked for again. */
  private makeRoom(): void {
    if (this.held.size <= COPIES_HELD_MAX) return;
    for (const [name, { value }] of this.held) {
      if (value !== null) continue;
      this.forget(name);
      return;
    }
  }

  private install(asker: Asker, order: CopyOrder, held: Held | undefined): void {
    const { token, value } = order;
    if (held !== undefined && token !== '' && held.token === token && value !== null) {
      held.token = '';
      const { host, replica } = this.leadership;
      if (host.keyCopies.bytes + value.value.byteLength <= COPIES_HELD_BYTES_MAX) {
        held.value = { ...value, value: Buffer.from(value.value) };
        host.keyCopies.bytes += value.value.byteLength;
      } else host.event({ level: 'warn', event: 'key_copy_refused', partition: replica.partition });
    }
    this.answer(asker, order, '', held?.value != null);
  }

  private answer(asker: Asker, { home, number }: CopyOrder, token: string, held: boolean, reads = 0): void {
    const { host, replica, epoch } = this.leadership;
    const copyReply = { number, homeEpoch: asker.epoch, token, held, reads };
    host.send(home, epoch, replica.meta.replica, asker.replica, { body: 'copyReply', copyReply });
  }

  /** The leadership ends, and with it its copies. */
  end(): void {
    for (const name of [...this.held.keys()]) this.forget(name);
  }

  /** Reads the copy of a key, if there is one. */
  read(handle: RequestHandle, request: Request, home: number): void {
    this.leadership.requests += 1;
    const key = userKey(request.keyspace, request.key);
    this.leadership.reads.read(handle, () => this.serve(handle, key, request, home));
  }

  private serve(handle: RequestHandle, key: Uint8Array, request: Request, home: number): void {
    const { host, replica } = this.leadership;
    const held = this.held.get(toLatin1(key));
    if (held?.value == null) {
      const message = `partition ${replica.partition} holds no copy of the key`;
      return host.fail(handle, new RingkeepError('NOT_LEADER', message, 'not_applied', { partition: home }));
    }
    held.reads += 1 + (request.sharedReads ?? 0);
    host.reply(handle, { result: 'value', value: held.value });
  }
}
