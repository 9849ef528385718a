/**
 * Linearizable gets of salted keys: which of them go to a copy, and what is learnt of their answers. A copy may be none any more: its refusal
 * sends the get home, and its client does not notice. Sends nothing itself.
 * INVARIANT: `request.saltIn` of a get that goes to a node is what was chosen here, whatever a client has sent.
 */
import type { Clock } from '../common/clock.ts';
import { isHomeward, SaltHints, saltedWay } from '../common/salt-hints.ts';
import type { Reply } from '../common/wire/messages.ts';
import { askedPartition, type Forward } from './forward.ts';
import type { NodeLink } from './node-link.ts';
import type { RequestCounters } from './request-counters.ts';
import type { Route, Routing } from './routing.ts';

/** What the choice is made from. */
export interface SaltedSurroundings {
  readonly counters: RequestCounters;
  readonly routing: Routing;
  /** The way to a node; null while it takes nothing. */
  readonly openLink: (node: string) => NodeLink | null;
  readonly clock: Clock;
}

/** The salted keys that a router knows. */
export class SaltedReads {
  private readonly around: SaltedSurroundings;
  private readonly hints = new SaltHints();

  constructor(around: SaltedSurroundings) {
    this.around = around;
  }

  /** Chooses among home and copies for a get that may be sent for the first time; null: it goes home, like any other request. */
  choose(forward: Forward): Pick<Route, 'node' | 'epoch'> | null {
    const { request, partition, attempts, sharedKey, avoids } = forward;
    if (!request.get) return null;
    request.saltIn = 0;
    // What has failed once goes where the answer certainly is.
    if (this.hints.size === 0 || attempts > 0 || request.attempt > 1 || !isLinearizableGet(forward))
      return null;
    const { clock, routing, openLink, counters } = this.around;
    const copies = this.hints.of(sharedKey!, clock.now());
    if (copies.length === 0) return null;
    const linkOf = (at: number): NodeLink | null => {
      const node = routing.leader(at)?.node ?? '';
      return node === '' || node === avoids ? null : openLink(node);
    };
    const way = saltedWay(
      partition,
      copies,
      linkOf,
      ({ load }) => load,
      () => clock.random(),
    );
    if (way === undefined) return null;
    request.saltIn = way.saltIn;
    if (way.saltIn > 0) counters.saltedReads += weightOf(forward);
    return routing.leader(askedPartition(forward));
  }

  /** Takes note of an answer, and has the client told where the key has copies. Returns false for the refusal of a copy: the get goes home. */
  replied(forward: Forward, reply: Reply): boolean {
    const { request, sharedKey } = forward;
    if (!isLinearizableGet(forward)) return true;
    const { value } = reply;
    const now = this.around.clock.now();
    if (request.saltIn) {
      if (value) value.salts = { partitions: [...this.hints.of(sharedKey!, now)] };
      return !isHomeward(reply.failure?.code ?? '');
    }
    if (value && (this.hints.size > 0 || value.salts))
      this.hints.note(sharedKey!, value.salts?.partitions ?? [], now);
    return true;
  }

  /** The copy that a get was sent to does not answer it. */
  missed(forward: Forward): void {
    this.hints.strike(forward.sharedKey!, askedPartition(forward));
    this.around.counters.saltedReadsHome += weightOf(forward);
  }
}

function isLinearizableGet({ request: { get } }: Forward): boolean {
  return get?.level === 'READ_LINEARIZABLE';
}

/** Gets of clients that it answers. */
function weightOf({ request }: Forward): number {
  return 1 + (request.sharedReads ?? 0);
}
