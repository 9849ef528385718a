/** One salted counter as the leader of its home sees it: how far it has come with its sub-counters. */
import type { Errand } from './counter-orders.ts';
import type { Command } from './entry.ts';
import { keyCommands } from './entry.ts';
import type { RequestHandle } from './host.ts';
import { splitUserKey } from './layout.ts';
import type { SubSet } from './salt-sets.ts';
import type { SaltReport } from './salted-key.ts';
import { incrementOf } from './sub-rows.ts';
import type { Proposal } from './write-path.ts';

/**
 * `opening`: its sub-counters are being opened; nothing is known of them, and its writes go on. `reading`: no write of it is appended, until what it
 * holds is known. `setting`: its set is in the log. `salted`: that is decided. `closing`: its sub-counters are being closed. `folding`: what they have come to is in the log.
 */
export type CounterPhase = 'opening' | 'reading' | 'setting' | 'salted' | 'closing' | 'folding';

/** What a client wants a counter to be. */
export interface CounterWish {
  readonly copies: number;
  readonly delta: bigint;
  readonly handle: RequestHandle;
}

export interface SaltedCounter {
  /** User key. */
  readonly key: Uint8Array;
  readonly set: SubSet;
  phase: CounterPhase;
  /** Entries up to there may touch the key, and were appended before it was held. */
  heldAt: number;
  /** On the core's clock, ms: until then it is opened, or not at all. */
  readonly until: number;
  /** The value of the key is being read. */
  isReading: boolean;
  /** Clients who are told of the end of what is under way. */
  handles: readonly RequestHandle[];
  /** What it is to be once it is unsalted; null: nothing more. */
  next: CounterWish | null;
  /** What sub-counters have come to that are closed, by partition. */
  readonly finals: Map<number, bigint>;
  errands: Errand[];
  /** All sub-counters are closed, and yet it cannot be unsalted: its sum does not fit. Whatever brings it down comes to the home. */
  isStuck: boolean;
  /** When its sub-counters are looked at for one that is closed, ms. */
  lookAt: number;
  /** It is not unsalted by itself before this time, ms. */
  notBefore: number;
}

/** A counter whose set is in the log, or decided. */
export function saltedCounter(key: Uint8Array, set: SubSet, phase: CounterPhase): SaltedCounter {
  const rest = { heldAt: 0, until: 0, isReading: false, handles: [], next: null, errands: [], notBefore: 0 };
  return { key: Buffer.from(key), set, phase, ...rest, finals: new Map(), isStuck: false, lookAt: 0 };
}

/** Whether its set is in the log. */
export function isSet({ phase }: SaltedCounter): boolean {
  return phase !== 'opening' && phase !== 'reading';
}

/** Whether a write may become one of the home's own part of a counter with this set. */
export function isOwnPart({ set, isStuck }: SaltedCounter, { command, unread }: Proposal): boolean {
  const increment = incrementOf(command);
  if (increment === null || unread === null) return false;
  return isStuck || set.counter.delta === 0n || increment.delta === set.counter.delta;
}

/** The user keys that a command writes or asks about. */
export function namedKeys(command: Command): readonly Uint8Array[] {
  return keyCommands(command).map(({ key }) => key);
}

/** What others are told of a counter. */
export function counterReport(
  { key, set, phase }: SaltedCounter,
  partition: number,
  waiting: number,
): SaltReport {
  const held = phase === 'salted';
  const copies = set.partitions.map((at) => ({ partition: at, held }));
  return { ...splitUserKey(key), partition, automatic: false, copies, waitingWrites: waiting };
}
