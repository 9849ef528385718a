/**
 * One key's history made ready for the search: entries in time order, open writes in classes, and indexes that tell early
 * that a path leads nowhere. Built once per search, changed by nobody but it.
 *
 *   faces      what reads show. `needs` counts the actions left that demand a face before them, `supply` the actions left
 *              that write it. Once a face is left for another one, with needs and without supply, nothing can mend that.
 *   ceilings   the state's `low` never falls. An action that demands a version bounds it from above for as long as it is
 *              left: a read of version v by v, a write of version v by v - 1. The least bound of those left counts.
 *   classes    open writes that do the same. Only the earliest called one of a class that is left need be tried: if a
 *              linearization uses another one, the two can be exchanged, since neither has an end nor an answer.
 */
import { assert } from '../common/errors.ts';
import type { TimedAction } from './interpret.ts';
import { isRead } from './model.ts';

/** Open writes that do the same, earliest call first. */
export interface OpenClass {
  readonly action: TimedAction;
  /** Positions in the history. */
  readonly members: readonly number[];
  /** Face that it writes; -1 if that depends on the state. */
  readonly gives: number;
}

/** The plan of a search. Required actions are numbered from 0 by their calls. */
export interface Plan {
  readonly actions: readonly TimedAction[];
  /** Positions in the history by number. */
  readonly positions: readonly number[];
  readonly classes: readonly OpenClass[];
  /** Times of the calls by position in the history. */
  readonly calls: Float64Array;
  /** Calls are nodes [0, n), returns [n, 2n), 2n is the head of the list. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
  readonly faces: ReadonlyMap<string | null, number>;
  readonly needs: Int32Array;
  readonly supply: Int32Array;
  /** By number: face demanded before it, face written; -1 for none. */
  readonly demands: Int32Array;
  readonly gives: Int32Array;
  /** By face: the only class of open writes that writes it without a condition; -1 for none. */
  readonly classOfFace: Int32Array;
  /** By face: a read that shows it shows one certain write. */
  readonly unique: Uint8Array;
  /** Distinct bounds, least first; `rank` is each action's, -1 for none; `left` counts the actions of a rank. */
  readonly ceilings: readonly number[];
  readonly rank: Int32Array;
  readonly left: Int32Array;
  /** Open writes need be tried only right before a read that shows them (search.ts). */
  readonly lazy: boolean;
  /** Number of an action that nothing can explain, or -1. */
  readonly unexplained: number;
}

function ceilingOf(action: TimedAction): number | null {
  const { version, condition } = action;
  if (action.kind === 'get') return version;
  if (action.refused) return version === 0 ? null : version;
  if (condition?.kind === 'version') return condition.version;
  return version === null ? null : version - 1;
}

function linkEntries(actions: readonly TimedAction[]): Pick<Plan, 'next' | 'previous'> {
  const count = actions.length;
  const timeOf = (node: number) => (node < count ? actions[node]!.call : actions[node - count]!.end);
  // At equal times calls go first: then the two operations overlap, which demands less.
  const order = Array.from({ length: 2 * count }, (_, node) => node);
  order.sort((a, b) => timeOf(a) - timeOf(b) || a - b);
  const next = new Int32Array(2 * count + 1);
  const previous = new Int32Array(2 * count + 1);
  let last = 2 * count;
  for (const node of order) {
    next[last] = node;
    previous[node] = last;
    last = node;
  }
  next[last] = 2 * count;
  previous[2 * count] = last;
  return { next, previous };
}

function classify(open: readonly { action: TimedAction; position: number }[]) {
  const classes = new Map<string, { action: TimedAction; members: number[] }>();
  for (const { action, position } of [...open].sort((a, b) => a.action.call - b.action.call)) {
    const { kind, text, delta, condition } = action;
    const name = JSON.stringify([kind, text, delta, condition]);
    const known = classes.get(name);
    if (known === undefined) classes.set(name, { action, members: [position] });
    else known.members.push(position);
  }
  return [...classes.values()];
}

/**
 * How the keys of a history may be treated. `register`: no increments. `monotone`: nothing but reads and increments of one
 * sign, so that a counter never comes back to a value. `mixed`: neither.
 */
type Nature = 'register' | 'monotone' | 'mixed';

function natureOf(all: readonly TimedAction[]): Nature {
  const increments = all.filter(({ kind }) => kind === 'increment');
  if (increments.length === 0) return 'register';
  const sign = Math.sign(increments[0]!.delta);
  const others = all.some(({ kind }) => kind === 'put' || kind === 'delete' || kind === 'expire');
  if (others || sign === 0 || increments.some(({ delta }) => Math.sign(delta) !== sign)) return 'mixed';
  return 'monotone';
}

function demandOf(action: TimedAction, nature: Nature): string | null | undefined {
  if (nature === 'mixed') return undefined;
  if (action.kind === 'get') return action.text;
  if (action.kind === 'increment') {
    if (action.sum === null) return undefined;
    // A monotone counter is 0 only while it is absent.
    return action.sum === action.delta ? null : String(action.sum - action.delta);
  }
  if (action.refused) return action.version === 0 ? null : undefined;
  return action.condition?.kind === 'absent' ? null : undefined;
}

function givenBy(action: TimedAction): string | null | undefined {
  if (action.refused || ['get', 'increment', 'touch'].includes(action.kind)) return undefined;
  return action.kind === 'put' ? action.text : null;
}

function indexFaces(
  actions: readonly TimedAction[],
  classes: readonly Omit<OpenClass, 'gives'>[],
  nature: Nature,
) {
  const faces = new Map<string | null, number>([[null, 0]]);
  const number = (face: string | null | undefined): number => {
    if (face === undefined) return -1;
    const known = faces.get(face);
    if (known !== undefined) return known;
    faces.set(face, faces.size);
    return faces.size - 1;
  };
  const demands = Int32Array.from(actions, (action) => number(demandOf(action, nature)));
  const gives = Int32Array.from(actions, (action) => number(givenBy(action)));
  const full = classes.map((found) => ({ ...found, gives: number(givenBy(found.action)) }));
  const needs = new Int32Array(faces.size);
  const supply = new Int32Array(faces.size);
  const classOfFace = new Int32Array(faces.size).fill(-1);
  for (const face of demands) if (face >= 0) needs[face]!++;
  for (const face of gives) if (face >= 0) supply[face]!++;
  for (const [index, { gives: face, members, action }] of full.entries()) {
    if (face < 0) continue;
    supply[face]! += members.length;
    if (action.condition === null) classOfFace[face] = index;
  }
  // The state before any write is absent too, so absence is never one certain write.
  // A touch writes the face that was there: then a read that shows it may mean either write.
  const touched = [...actions, ...classes.map(({ action }) => action)].some(({ kind }) => kind === 'touch');
  const certain = (face: number) => face !== 0 && nature !== 'mixed' && !touched && supply[face]! <= 1;
  const unique = Uint8Array.from(supply, (_, face) => (certain(face) ? 1 : 0));
  let unexplained = -1;
  if (nature === 'register') {
    unexplained = demands.findIndex((face) => face > 0 && supply[face] === 0);
  }
  return { faces, demands, gives, classes: full, needs, supply, classOfFace, unique, unexplained };
}

function indexCeilings(actions: readonly TimedAction[]) {
  const bounds = actions.map(ceilingOf);
  const ceilings = [...new Set(bounds.filter((bound) => bound !== null))].sort((a, b) => a - b);
  const ranks = new Map(ceilings.map((bound, rank) => [bound, rank]));
  const rank = Int32Array.from(bounds, (bound) => (bound === null ? -1 : ranks.get(bound)!));
  const left = new Int32Array(ceilings.length);
  for (const at of rank) if (at >= 0) left[at]!++;
  return { ceilings, rank, left };
}

/** Makes the plan of one key's history. */
export function makePlan(history: readonly TimedAction[]): Plan {
  const numbered = history.map((action, position) => ({ action, position }));
  const required = numbered.filter(({ action }) => !action.open);
  required.sort((a, b) => a.action.call - b.action.call || a.action.end - b.action.end);
  const open = numbered.filter(({ action }) => action.open);
  assert(
    open.every(({ action }) => !isRead(action)),
    'an open operation is a write',
  );
  const actions = required.map(({ action }) => action);
  const nature = natureOf(history);
  return {
    actions,
    positions: required.map(({ position }) => position),
    calls: Float64Array.from(history, ({ call }) => call),
    lazy: nature === 'register' && history.every(({ condition }) => condition === null),
    ...linkEntries(actions),
    ...indexFaces(actions, classify(open), nature),
    ...indexCeilings(actions),
  };
}
