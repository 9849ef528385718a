/**
 * Gets of one key that a router forwards as one. A few go by themselves, so that nobody waits on a key that is not hot; while those are under
 * way, further ones wait, and all of them go together as soon as one of those has ended.
 * INVARIANT: a get joins only a flight that has not been sent: what was sent may show the state from before the get came.
 */
import { toLatin1 } from '../common/bytes.ts';
import { goesToLeader } from '../common/replica-choice.ts';
import type { Reply, Request } from '../common/wire/messages.ts';
import { createForward, type Forward, type ForwardOwner } from './forward.ts';

/** Of one key, so many are under way at a time. */
export const FLIGHTS_MAX = 4;

interface Key {
  active: number;
  waiting: Forward[];
}

/** Returns by what gets are told apart that may be one; null: this request goes by itself. Both levels are linearizable, and go different ways. */
export function sharedKey({ get, keyspace, key, attempt }: Request): string | null {
  if (get == null || (get.level !== 'READ_LINEARIZABLE' && get.level !== 'READ_QUORUM')) return null;
  const way = get.level === 'READ_LINEARIZABLE' ? 'l' : goesToLeader(attempt) ? 'q' : 'v';
  return `${way}${keyspace}\0${toLatin1(key)}`;
}

/** The gets that are under way and those that wait, by key. */
export class SingleFlight {
  private readonly keys = new Map<string, Key>();

  /** Returns whether a get goes now; otherwise it waits, in the state `joined`. */
  admit(forward: Forward): boolean {
    if (forward.sharedKey === null) return true;
    const key = this.keys.get(forward.sharedKey);
    if (key === undefined) this.keys.set(forward.sharedKey, { active: 1, waiting: [] });
    else if (key.active < FLIGHTS_MAX) key.active += 1;
    else {
      key.waiting.push(forward);
      return false;
    }
    forward.active = true;
    return true;
  }

  /** One that went has ended. Returns those that go together now, as one that is under way; none: nobody waits any more. */
  ended(forward: Forward): readonly Forward[] {
    if (!forward.active) return [];
    forward.active = false;
    const name = forward.sharedKey!;
    const key = this.keys.get(name)!;
    const riders = key.waiting.filter(({ state }) => state === 'joined');
    key.waiting = [];
    if (riders.length === 0) {
      key.active -= 1;
      if (key.active === 0) this.keys.delete(name);
    }
    return riders;
  }
}

/** Several gets on their way as one, which is nobody's own: it ends for all who still wait. */
export class Flight implements ForwardOwner {
  forward: Forward;
  private readonly riders: readonly Forward[];
  private readonly end: (rider: Forward, reply: Reply) => void;

  /** `riders`: two or more, of one key and level. `end` answers one of them. */
  constructor(riders: readonly Forward[], now: number, end: (rider: Forward, reply: Reply) => void) {
    const [first] = riders as [Forward];
    this.riders = riders;
    this.end = end;
    const timeLeftMs = Math.max(...riders.map(({ deadline }) => deadline)) - now;
    const request = { ...first.request, id: 0, timeLeftMs, sharedReads: riders.length - 1 };
    this.forward = createForward(this, request, first.partition, now);
    this.forward.sharedKey = first.sharedKey;
    this.forward.active = true;
    for (const rider of riders) rider.goesWith = this;
  }

  replaced(again: Forward): void {
    this.forward = again;
  }

  answer(_forward: Forward, reply: Reply): void {
    for (const rider of this.riders) if (rider.state === 'joined') this.end(rider, { ...reply });
  }
}
