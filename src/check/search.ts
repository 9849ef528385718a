/**
 * The search for a linearization of one key: Wing and Gong's tree of orders, with the memo of Lowe ("Testing for
 * linearizability", 2017): a configuration, which is the set of linearized actions and the state, is explored once. Deep
 * histories are usual, so there is no recursion.
 *
 * An action is enabled when it was called before the first return among the required actions left. The search succeeds when
 * no required action is left; open writes may be left for ever. Of a configuration that can be completed, some completion
 * obeys all of these rules, so the others are not tried:
 *
 *   reads first   An enabled read that fits the state, and pins no version that another write might have, comes at once:
 *                 moving it from its place to here disturbs nothing, since reads change nothing.
 *   lazy opens    Without conditions and increments, an open write comes right before an enabled read that shows it. Take a
 *                 completion with the fewest open writes. Between an open write and the next write are reads only, and they
 *                 show it. If there are none, the completion is as good without it: the next write does not look at the
 *                 state, and versions only get more room. That contradicts the choice. Nor does the read fit the state
 *                 already: it would leave the same state without the open write.
 *   no idle opens  An open write is never right before a write that does not look at the state: a completion with the fewest
 *                 open writes would do without it, and versions only get more room.
 *   needs, ceilings, classes   see plan.ts.
 *
 * INVARIANT: `illegal` only after every completion was ruled out; running out of steps or time is `unknown`.
 * INVARIANT: the same history and limits give the same answer, except where time ran out.
 */
import type { TimedAction } from './interpret.ts';
import { type Content, faceOf, INITIAL, isRead, type State, step } from './model.ts';
import { makePlan, type Plan } from './plan.ts';

/** Bounds of one search. */
export interface SearchLimits {
  /** Actions that may be tried. */
  readonly stepsMax: number;
  /** Configurations that may be remembered; they are what takes memory. */
  readonly configurationsMax: number;
  /** Asked now and then; true ends the search. */
  readonly stop: () => boolean;
}

/** What a search found. Numbers are positions in the history it was given. */
export interface SearchResult {
  readonly result: 'ok' | 'illegal' | 'unknown';
  readonly steps: number;
  /** The linearization found; if there is none, the longest beginning of one. */
  readonly order: readonly number[];
  /** Where the longest beginning got stuck: the first required action to return that it could not place; else -1. */
  readonly stuck: number;
}

/** Limits for short histories; a few seconds and some hundred MB at the worst. */
export const SEARCH_LIMITS: SearchLimits = {
  stepsMax: 20_000_000,
  configurationsMax: 1_000_000,
  stop: () => false,
};

const STOP_STEPS = 512;
const BITS = 16;

/** A configuration on the path. A choice >= 0 is a required action, -1 - c the next member of class c. */
interface Frame {
  readonly state: State;
  readonly choices: readonly number[];
  readonly states: readonly State[];
  /** Taken because nothing else need be tried: its dead end is not worth remembering. */
  readonly forced: boolean;
  at: number;
  key: string | null;
  taken: number;
}

function isBlind({ kind, condition, refused }: TimedAction): number {
  return (kind === 'put' || kind === 'delete') && condition === null && !refused ? 1 : 0;
}

class Search {
  private readonly plan: Plan;
  private readonly limits: SearchLimits;
  /** Whether paths that lead nowhere are left early. */
  private readonly prune: boolean;
  private readonly count: number;
  private readonly linearized: Uint8Array;
  private linearizedCount = 0;
  /** All required actions below are linearized. */
  private base = 0;
  /** Members of each class that are linearized, always the first ones; and the classes with any, in order of use. */
  private readonly used: Int32Array;
  /** By number, and by class: writes that do not look at the state. */
  private readonly blind: Uint8Array;
  private readonly blindClass: Uint8Array;
  private readonly usedClasses: number[] = [];
  /** No rank below has actions left. */
  private lowestRank = 0;
  private readonly contents = new Map<Content, number>();
  /** Configurations that cannot be completed, by how many required actions are linearized in them. */
  private readonly failed = new Map<number, Set<string>>();
  private failedCount = 0;
  private readonly path: Frame[] = [];
  private steps = 0;
  /** Choices of the longest beginning; the first `agreeing` ones are those of the path. */
  private readonly best: number[] = [];
  private bestCount = -1;
  private agreeing = 0;
  private stuck = -1;

  constructor(plan: Plan, limits: SearchLimits, prune: boolean) {
    this.plan = plan;
    this.limits = limits;
    this.prune = prune;
    this.count = plan.actions.length;
    this.linearized = new Uint8Array(this.count);
    this.used = new Int32Array(plan.classes.length);
    this.blind = Uint8Array.from(plan.actions, isBlind);
    this.blindClass = Uint8Array.from(plan.classes, ({ action }) => isBlind(action));
  }

  run(): SearchResult {
    if (this.count === 0) return this.end('ok', []);
    let frame = this.enter(INITIAL);
    for (;;) {
      const index = frame.at++;
      const choice = frame.choices[index];
      if (choice === undefined) {
        this.noteStuck();
        if (!frame.forced) this.remember(frame.key ?? this.keyOf(frame.state));
        const parent = this.path.pop();
        if (parent === undefined) return this.end('illegal', this.best);
        this.agreeing = Math.min(this.agreeing, this.path.length);
        this.undo(parent.taken);
        frame = parent;
        continue;
      }
      if (this.exhausted()) {
        this.noteStuck();
        return this.end('unknown', this.best);
      }
      frame.taken = choice;
      this.take(choice);
      this.path.push(frame);
      if (this.linearizedCount === this.count)
        return this.end(
          'ok',
          this.path.map(({ taken }) => taken),
        );
      const state = frame.states[index]!;
      const known = this.failed.get(this.linearizedCount);
      const key = known === undefined ? null : this.keyOf(state);
      if (key !== null && known!.has(key)) {
        this.path.pop();
        this.undo(choice);
      } else {
        frame = this.enter(state);
        frame.key = key;
      }
    }
  }

  private exhausted(): boolean {
    this.steps++;
    const { stepsMax, configurationsMax, stop } = this.limits;
    if (this.steps > stepsMax || this.failedCount > configurationsMax) return true;
    return this.steps % STOP_STEPS === 0 && stop();
  }

  private remember(key: string): void {
    const known = this.failed.get(this.linearizedCount);
    if (known === undefined) this.failed.set(this.linearizedCount, new Set([key]));
    else known.add(key);
    this.failedCount++;
  }

  private end(result: SearchResult['result'], choices: readonly number[]): SearchResult {
    const order = this.positionsOf(choices);
    return { result, steps: this.steps, order, stuck: result === 'ok' ? -1 : this.stuck };
  }

  // ------------------------------------------------------------ choices

  /** Finds what may come next in a configuration. */
  private enter(state: State): Frame {
    const { actions, next, lazy, classes, classOfFace } = this.plan;
    const head = 2 * this.count;
    const choices: number[] = [];
    const states: State[] = [];
    const shown: number[] = [];
    const idle = this.isIdle;
    let node = next[head]!;
    for (; node < this.count; node = next[node]!) {
      const action = actions[node]!;
      const after = step(state, action);
      if (isRead(action)) {
        if (after !== null && (after === state || this.isUnique(node))) {
          return this.frame(state, [node], [after], true);
        }
        const found = lazy && after === null ? classOfFace[this.plan.demands[node]!]! : -1;
        if (found >= 0 && !shown.includes(found)) shown.push(found);
      }
      if (after === null || (idle && this.blind[node] === 1) || !this.mayFollow(state, after, node)) continue;
      choices.push(node);
      states.push(after);
    }
    // The list always has a return here: of the required action left that returns first.
    const firstEnd = actions[node - this.count]!.end;
    const classCount = lazy ? shown.length : classes.length;
    for (let at = 0; at < classCount; at++) {
      const index = lazy ? shown[at]! : at;
      const { action, members, gives } = classes[index]!;
      const used = this.used[index]!;
      if (used === members.length || this.callOf(index, used) > firstEnd) continue;
      if (idle && this.blindClass[index] === 1) continue;
      const after = step(state, action);
      if (after === null || !this.keepsNeeds(state, after, -1, gives) || this.isAboveCeiling(after, -1))
        continue;
      choices.push(-1 - index);
      states.push(after);
    }
    return this.frame(state, choices, states, false);
  }

  private frame(state: State, choices: number[], states: State[], forced: boolean): Frame {
    return { state, choices, states, forced, at: 0, key: null, taken: 0 };
  }

  /** The last choice was an open write: what follows has to look at the state. */
  private get isIdle(): boolean {
    const last = this.path.at(-1)?.taken ?? 0;
    return this.prune && last < 0;
  }

  private callOf(index: number, used: number): number {
    return this.plan.calls[this.plan.classes[index]!.members[used]!]!;
  }

  private isUnique(node: number): boolean {
    const { demands, unique, actions } = this.plan;
    return actions[node]!.kind === 'get' && demands[node]! >= 0 && unique[demands[node]!] === 1;
  }

  private mayFollow(state: State, after: State, node: number): boolean {
    if (this.isAboveCeiling(after, node)) return false;
    if (isRead(this.plan.actions[node]!)) return true;
    return this.keepsNeeds(state, after, node, this.plan.gives[node]!);
  }

  /** Whether every action left that demands the state's face can still have it. `node` is the action taken, or -1. */
  private keepsNeeds(state: State, after: State, node: number, gives: number): boolean {
    const { faces, needs, supply, demands } = this.plan;
    if (!this.prune) return true;
    const face = faces.get(faceOf(state.content));
    if (face === undefined) return true;
    const needed = needs[face]! - (node >= 0 && demands[node] === face ? 1 : 0);
    if (needed === 0 || supply[face]! - (gives === face ? 1 : 0) > 0) return true;
    return faces.get(faceOf(after.content)) === face;
  }

  /** Whether an action left, other than `node`, demands a version below what the state has. */
  private isAboveCeiling(after: State, node: number): boolean {
    const { ceilings, left, rank } = this.plan;
    if (!this.prune) return false;
    let lowest = this.lowestRank;
    const own = node < 0 ? -1 : rank[node]!;
    while (lowest < ceilings.length && left[lowest]! - (lowest === own ? 1 : 0) === 0) lowest++;
    return lowest < ceilings.length && after.low > ceilings[lowest]!;
  }

  // ------------------------------------------------------------ the path

  private take(choice: number): void {
    const { supply } = this.plan;
    if (choice < 0) {
      const index = -1 - choice;
      if (this.used[index]! === 0) this.usedClasses.push(index);
      this.used[index]!++;
      const { gives } = this.plan.classes[index]!;
      if (gives >= 0) supply[gives]!--;
      return;
    }
    const { next, previous, needs, demands, gives, left, rank } = this.plan;
    for (const node of [choice, choice + this.count]) {
      next[previous[node]!] = next[node]!;
      previous[next[node]!] = previous[node]!;
    }
    this.linearized[choice] = 1;
    this.linearizedCount++;
    while (this.base < this.count && this.linearized[this.base] === 1) this.base++;
    if (demands[choice]! >= 0) needs[demands[choice]!]!--;
    if (gives[choice]! >= 0) supply[gives[choice]!]!--;
    if (rank[choice]! >= 0) left[rank[choice]!]!--;
    while (this.lowestRank < left.length && left[this.lowestRank] === 0) this.lowestRank++;
  }

  /** Takes the last choice back. The list is mended in the reverse order, so its neighbours are as they were. */
  private undo(choice: number): void {
    const { supply } = this.plan;
    if (choice < 0) {
      const index = -1 - choice;
      this.used[index]!--;
      if (this.used[index]! === 0) this.usedClasses.splice(this.usedClasses.lastIndexOf(index), 1);
      const { gives } = this.plan.classes[index]!;
      if (gives >= 0) supply[gives]!++;
      return;
    }
    const { next, previous, needs, demands, gives, left, rank } = this.plan;
    for (const node of [choice + this.count, choice]) {
      next[previous[node]!] = node;
      previous[next[node]!] = node;
    }
    this.linearized[choice] = 0;
    this.linearizedCount--;
    this.base = Math.min(this.base, choice);
    if (demands[choice]! >= 0) needs[demands[choice]!]!++;
    if (gives[choice]! >= 0) supply[gives[choice]!]!++;
    if (rank[choice]! < 0) return;
    left[rank[choice]!]!++;
    this.lowestRank = Math.min(this.lowestRank, rank[choice]!);
  }

  /**
   * Returns the configuration as text. Required actions are given from the first one that is left; which open writes are
   * linearized, by how many of each class.
   */
  private keyOf(state: State): string {
    let bits = '';
    let seen = this.base;
    for (let at = this.base; seen < this.linearizedCount; at += BITS) {
      let word = 0;
      for (let bit = 0; bit < BITS && at + bit < this.count; bit++) {
        if (this.linearized[at + bit] === 0) continue;
        word |= 1 << bit;
        seen++;
      }
      bits += String.fromCharCode(word);
    }
    const open = this.usedClasses.map((index) => `${index}.${this.used[index]}`).sort();
    let content = this.contents.get(state.content);
    if (content === undefined) {
      content = this.contents.size;
      this.contents.set(state.content, content);
    }
    return `${this.base}:${bits}|${open.join()}|${content},${state.exact ? '=' : ''}${state.low}${this.isIdle ? '!' : ''}`;
  }

  private positionsOf(choices: readonly number[]): number[] {
    const { positions, classes } = this.plan;
    const seen = new Map<number, number>();
    return choices.map((choice) => {
      if (choice >= 0) return positions[choice]!;
      const nth = seen.get(choice) ?? 0;
      seen.set(choice, nth + 1);
      return classes[-1 - choice]!.members[nth]!;
    });
  }

  private noteStuck(): void {
    if (this.linearizedCount <= this.bestCount) return;
    this.bestCount = this.linearizedCount;
    // Only what differs: copying whole paths would be quadratic in a long history.
    for (let at = this.agreeing; at < this.path.length; at++) this.best[at] = this.path[at]!.taken;
    this.best.length = this.path.length;
    this.agreeing = this.path.length;
    let node = this.plan.next[2 * this.count]!;
    while (node < this.count) node = this.plan.next[node]!;
    this.stuck = this.plan.positions[node - this.count]!;
  }
}

/** Searches a linearization of one key's history. An action that nothing can explain ends it at once, with no order. */
export function search(history: readonly TimedAction[], limits: SearchLimits = SEARCH_LIMITS): SearchResult {
  const plan = makePlan(history);
  if (plan.unexplained >= 0) {
    return { result: 'illegal', steps: 0, order: [], stuck: plan.positions[plan.unexplained]! };
  }
  return new Search(plan, limits, true).run();
}

/**
 * The same search without looking ahead, for short histories. It gets stuck where a person does who follows the order: at
 * the answer that does not fit, not before the write that makes it so.
 */
export function searchInFull(
  history: readonly TimedAction[],
  limits: SearchLimits = SEARCH_LIMITS,
): SearchResult {
  return new Search(makePlan(history), limits, false).run();
}
