/**
 * Which faults a run injects, in which order and for how long: rounds, each after a calm while, drawn from one seed. Every kind
 * comes as often as every other. Real processes take the time they take, so a plan has no clock: the same seed gives the same
 * rounds, and on another machine they come at other times.
 */
import { createRandom, type Random } from '../common/random.ts';

/** What of a kind of fault matters to a plan. */
export interface PlannedKind {
  readonly kind: string;
  readonly destroys?: boolean;
  readonly group?: string;
}

/** Faults that are on at the same time. */
export interface Round {
  /** Without faults, before them, ms. */
  readonly calmMs: number;
  /** The first of them is on for so long, ms; the others begin and end within. */
  readonly holdMs: number;
  readonly kinds: readonly string[];
  /** Seed of what the faults draw. */
  readonly seed: number;
}

/** A run that has a name. */
export interface Scenario {
  readonly name: string;
  readonly text: string;
  /** Kinds of faults, or families of them. */
  readonly faults: readonly string[];
  /** Part of the rounds with several faults at once. */
  readonly mixed: number;
}

/** Every run that has a name; the first is the default. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'all',
    text: 'every fault that this machine can inject, half of the time several at once',
    faults: ['*'],
    mixed: 0.5,
  },
  { name: 'alone', text: 'every fault that this machine can inject, one at a time', faults: ['*'], mixed: 0 },
  { name: 'splits', text: 'splits of the network, of every shape', faults: ['split-*'], mixed: 0 },
  {
    name: 'leaders',
    text: 'leaders are cut off, killed and paused',
    faults: ['split-one', 'kill', 'pause'],
    mixed: 0,
  },
  { name: 'network', text: 'splits and bad links', faults: ['links'], mixed: 0.3 },
  {
    name: 'processes',
    text: 'processes are killed, ended, paused and stalled',
    faults: ['process'],
    mixed: 0.3,
  },
  {
    name: 'disks',
    text: 'disks fail, are slow or full; data directories are damaged, emptied and put back',
    faults: ['disk'],
    mixed: 0,
  },
  {
    name: 'surroundings',
    text: 'clocks that are wrong, and too few file descriptors or too little memory',
    faults: ['clock', 'limits'],
    mixed: 0.3,
  },
  {
    name: 'members',
    text: 'nodes join, are replaced and lost for good, half of the time beside something else',
    faults: ['members', 'split-*', 'kill', 'kill-router', 'pause', 'terminate'],
    mixed: 0.5,
  },
  {
    name: 'planned',
    text: 'restarts in good order, also with another version, and moves: nothing may be lost, at any level',
    faults: ['terminate', 'rolling-restart', 'rolling-upgrade', 'join', 'replace'],
    mixed: 0,
  },
];

/** How long things take, ms: the least, and how much more. */
export interface Paces {
  readonly calmMs: readonly [least: number, more: number];
  readonly holdMs: readonly [least: number, more: number];
}

/** Long enough for a failover within a fault, and for its end before the next. */
export const PACES: Paces = { calmMs: [1_500, 1_500], holdMs: [2_500, 3_500] };

/** Faults at once, where several are. */
export const TOGETHER_MAX = 3;

/** Whether a kind is meant by one of the names: itself, its family, `*`, or a beginning with `*`. */
export function isNamed(kind: { readonly kind: string; readonly family: string }, name: string): boolean {
  if (name === '*' || name === kind.kind || name === kind.family) return true;
  return name.endsWith('*') && kind.kind.startsWith(name.slice(0, -1));
}

/** Gives out the kinds in an order of its own, all of them before any comes again. */
class Deck {
  private readonly kinds: readonly PlannedKind[];
  private readonly random: Random;
  private rest: PlannedKind[] = [];

  constructor(kinds: readonly PlannedKind[], random: Random) {
    this.kinds = kinds;
    this.random = random;
  }

  draw(): PlannedKind {
    if (this.rest.length === 0) this.rest = [...this.kinds];
    return this.rest.splice(this.random.integer(this.rest.length), 1)[0]!;
  }
}

function between(random: Random, [least, more]: readonly [number, number]): number {
  return Math.round(least + random.next() * more);
}

function excludes(one: PlannedKind, other: PlannedKind): boolean {
  if (one.destroys === true && other.destroys === true) return true;
  return one.group !== undefined && one.group === other.group;
}

/** Yields the rounds of a run, without end: of one fault, or of two to `together`. At most one of the faults of a round destroys data. */
export function* planRounds(
  seed: number,
  kinds: readonly PlannedKind[],
  mixed: number,
  {
    paces = PACES,
    together: most = TOGETHER_MAX,
  }: { readonly paces?: Paces; readonly together?: number } = {},
): Generator<Round> {
  const random = createRandom(seed);
  const deck = new Deck(kinds, random);
  for (;;) {
    const together = random.next() < mixed ? 2 + random.integer(most - 1) : 1;
    const first = deck.draw();
    const chosen = [first];
    const others = kinds.filter(({ kind }) => kind !== first.kind);
    while (chosen.length < together && others.length > 0) {
      const next = others.splice(random.integer(others.length), 1)[0]!;
      if (!chosen.some((other) => excludes(other, next))) chosen.push(next);
    }
    yield {
      calmMs: between(random, paces.calmMs),
      holdMs: between(random, paces.holdMs),
      kinds: chosen.map(({ kind }) => kind),
      seed: random.integer(2 ** 32),
    };
  }
}
