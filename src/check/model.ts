/**
 * The specification of one key: a pure step from a state and an action to the next state, or to none. It knows nothing of
 * time, concurrency or histories; those are the search's (as in Porcupine). One key is a register with deletes, conditions
 * and versions, and a counter; which of it a history uses is up to its operations.
 *
 * Versions grow with every effective write, by at least 1. A write whose version nobody told has some version; the state
 * then holds the least one that it can have, until a read tells it:
 *
 *   exact   the last effective write has version `low`
 *   else    it has some version >= `low`
 *
 * INVARIANT: a state stands for exactly the set of concrete states that the actions so far allow.
 */

/** What a key holds: JSON text of a value that was put, a counter, or null for nothing. */
export type Content = string | number | null;

/** State of one key. */
export interface State {
  readonly content: Content;
  readonly low: number;
  readonly exact: boolean;
}

/** What a write demands of the key. */
export type Condition =
  | { readonly kind: 'absent' }
  | { readonly kind: 'exists' }
  | { readonly kind: 'version'; readonly version: number };

/** What an operation asks and, as far as it is known, was told. */
export interface Action {
  readonly kind: 'get' | 'put' | 'delete' | 'increment' | 'touch' | 'expire';
  /** JSON text of the value put, shown or expired; null: nothing was shown, any value expires, or it is another kind. */
  readonly text: string | null;
  /** Of increments, else 0. */
  readonly delta: number;
  /** The counter after an increment; null: not told. */
  readonly sum: number | null;
  readonly condition: Condition | null;
  /** The condition was found not to hold: a read, in effect. `version` is then that of the value there, 0 for none. */
  readonly refused: boolean;
  /** Version written or shown; null: not told. */
  readonly version: number | null;
}

/** An absent key that was never written. */
export const INITIAL: State = { content: null, low: 0, exact: true };

/** Returns what a read shows of a content: its JSON text, null for nothing. */
export function faceOf(content: Content): string | null {
  return typeof content === 'number' ? String(content) : content;
}

/** Whether the action changes no state but what is known of it. */
export function isRead(action: Action): boolean {
  return action.kind === 'get' || action.refused;
}

/** The version of the last write is told to be `version`. */
function pin(state: State, version: number | null): State | null {
  if (version === null) return state;
  if (state.exact) return version === state.low ? state : null;
  return version >= state.low ? { content: state.content, low: version, exact: true } : null;
}

function write(state: State, content: Content, version: number | null): State | null {
  if (version === null) return { content, low: state.low + 1, exact: false };
  return version > state.low ? { content, low: version, exact: true } : null;
}

/** The condition held; returns what is known of the state then. */
function hold(state: State, condition: Condition | null): State | null {
  if (condition === null) return state;
  if (condition.kind === 'absent') return state.content === null ? state : null;
  if (state.content === null) return null;
  return condition.kind === 'exists' ? state : pin(state, condition.version);
}

/** The condition did not hold, and `version` was there. */
function refuse(state: State, condition: Condition, version: number): State | null {
  if (version === 0) return state.content === null && condition.kind !== 'absent' ? state : null;
  if (state.content === null || condition.kind === 'exists') return null;
  if (condition.kind === 'version' && condition.version === version) return null;
  return pin(state, version);
}

function increment(state: State, action: Action): State | null {
  if (typeof state.content === 'string') return null;
  const sum = (state.content ?? 0) + action.delta;
  return action.sum === null || action.sum === sum ? write(state, sum, action.version) : null;
}

/** Returns the state after the action, or null if the action cannot have been answered so in this state. */
export function step(state: State, action: Action): State | null {
  if (action.kind === 'get') {
    if (faceOf(state.content) !== action.text) return null;
    return action.text === null ? state : pin(state, action.version);
  }
  if (action.kind === 'increment') return increment(state, action);
  if (action.refused) return refuse(state, action.condition!, action.version!);
  const held = hold(state, action.condition);
  if (held === null) return null;
  switch (action.kind) {
    case 'put':
      return write(held, action.text, action.version);
    case 'touch':
      return held.content === null ? null : write(held, held.content, action.version);
    case 'expire':
      if (action.text !== null && faceOf(held.content) !== action.text) return null;
      return write(held, null, null);
    case 'delete':
      return write(held, null, action.version);
  }
}
