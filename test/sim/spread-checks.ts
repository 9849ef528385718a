/**
 * What clients may see of counters that are salted and unsalted all the time: each increment counts at most once, wherever it was sent, as it was
 * told; and a read shows what was acknowledged before its call, and nothing that was not called before its end. Where all add the same, what was
 * read linearizably never goes back: then there is an order of all operations that explains every read.
 */
import { toLatin1 } from '../../src/common/bytes.ts';
import { userKey } from '../../src/node/core/layout.ts';
import { closedRow, openRow } from '../../src/node/core/sub-rows.ts';
import type { Operation } from './client-checks.ts';
import type { GhostPartition } from './ghost.ts';
import type { World } from './world.ts';

/** Prefix of counters that all increments add 1 to, and of those that increments add anything to. */
export const EQUAL_PREFIX = 's';
export const MIXED_PREFIX = 'm';

/** Whether a key is one of those. */
export function isSpread(key: string): boolean {
  return key.startsWith(EQUAL_PREFIX) || key.startsWith(MIXED_PREFIX);
}

/** Where an operation was pinned, and under which request id. */
export interface Pin {
  readonly partition: number;
  readonly request: string;
}

/** The slowest clock of a node, to the time of the world. */
const SLOWEST_CLOCK = 0.95;

interface Add {
  readonly operation: Operation;
  readonly delta: number;
  outcome: 'open' | 'applied' | 'not_applied' | 'unknown';
  end: number;
}

interface Shown {
  readonly client: string;
  readonly at: number;
  readonly sum: number;
  readonly weak: boolean;
}

/** The checks of spread counters of one simulation. */
export class SpreadChecks {
  private readonly world: World;
  private readonly ghosts: readonly GhostPartition[];
  private readonly adds = new Map<string, Add[]>();
  private readonly shown = new Map<string, Shown[]>();

  constructor(world: World, ghosts: readonly GhostPartition[]) {
    this.world = world;
    this.ghosts = ghosts;
  }

  /** An operation was called. */
  called(operation: Operation): void {
    if (operation.kind !== 'increment') return;
    const delta = Number(operation.input);
    this.of(operation.key).push({ operation, delta, outcome: 'open', end: Number.POSITIVE_INFINITY });
  }

  /** An increment has ended. */
  ended(operation: Operation, outcome: 'applied' | 'not_applied' | 'unknown'): void {
    const add = this.of(operation.key).find((one) => one.operation === operation);
    if (add === undefined) return;
    add.outcome = outcome;
    add.end = this.world.now;
    this.checkEffects(add);
  }

  /** A read has ended; `stalenessMs` as it was told. */
  read(operation: Operation, sum: number, stalenessMs: number): void {
    const { key, level, call, client } = operation;
    const weak = level === 'session' || level === 'stale';
    const isEqual = key.startsWith(EQUAL_PREFIX);
    const adds = this.of(key).filter(({ outcome }) => outcome !== 'not_applied');
    const since = level === 'stale' ? call - stalenessMs / SLOWEST_CLOCK : call;
    const isSeen = ({ outcome, end, operation: { client: other } }: Add): boolean =>
      outcome === 'applied' && end < since && (level !== 'session' || other === client);
    const seen = total(adds.filter(isSeen));
    const open = adds.filter((add) => !isSeen(add));
    const least = seen + total(open.filter(({ delta }) => delta < 0));
    const most = seen + total(open.filter(({ delta }) => delta > 0));
    const before = this.shown.get(key) ?? [];
    this.shown.set(key, before);
    const counts = before.filter(
      (one) => one.at < call && (weak ? level === 'session' && one.client === client : !one.weak),
    );
    const floor = isEqual ? Math.max(least, ...counts.map((one) => one.sum)) : least;
    this.world.check(
      sum >= floor && sum <= most,
      () =>
        `invariant 10: ${client} reads ${key} at ${level} as ${sum}, called ${call.toFixed(0)}: from ${floor} to ${most}`,
    );
    before.push({ client, at: this.world.now, sum, weak });
  }

  private of(key: string): Add[] {
    const adds = this.adds.get(key) ?? [];
    this.adds.set(key, adds);
    return adds;
  }

  private checkEffects({ operation, outcome }: Add): number {
    const places = operation.pins.filter(({ partition, request }) => {
      return this.ghosts[partition]!.effectOf(request) !== undefined;
    });
    const told = `${operation.client} ${operation.key} ${operation.pins.map(({ partition, request }) => `p${partition} ${request}`).join(', ')}`;
    const most = outcome === 'not_applied' ? 0 : 1;
    this.world.check(
      places.length <= most && (outcome !== 'applied' || places.length === 1),
      () => `invariant 11: ${told} was told ${outcome}, and counts ${places.length} times`,
    );
    return places.length;
  }

  /** Everything has ended: what every counter has come to is what has taken effect. */
  finish(): void {
    for (const [key, adds] of this.adds) {
      const [first] = adds;
      if (first === undefined) continue;
      const expected = adds.reduce((sum, add) => sum + add.delta * this.checkEffects(add), 0);
      const found = this.valueOf(key, first.operation.partition);
      this.world.check(
        found === expected,
        () => `invariant 11: ${key} has come to ${found}, and increments to ${expected}`,
      );
    }
  }

  /** What a counter and its sub-counters hold. */
  private valueOf(key: string, home: number): number {
    const user = userKey('', Buffer.from(key));
    const contentOf = (partition: number, row: Uint8Array): number =>
      Number(this.ghosts[partition]!.lastOf(toLatin1(row)).content);
    let sum = contentOf(home, user);
    const set = this.ghosts[home]!.subSetOf(toLatin1(user));
    for (const partition of set?.partitions ?? []) {
      const { counter } = set!;
      sum += contentOf(partition, openRow(counter, user)) + contentOf(partition, closedRow(counter, user));
    }
    return sum;
  }
}

function total(adds: readonly Add[]): number {
  return adds.reduce((sum, { delta }) => sum + delta, 0);
}
