/**
 * Makes a failing run smaller: fewer faults and fewer clients while the same check fails. It tries runs, nothing else;
 * dropping a fault leaves the others as they were planned, but not the luck of the network, so it is a search.
 */
import { FAULT_WEIGHTS } from './nemesis.ts';
import { type SimulationOptions, simulate } from './run.ts';
import { SimulationFailure } from './world.ts';

/** A failing run: what to keep of it, and how it ends. */
export interface Shrunk {
  readonly keepFaults: readonly number[];
  readonly clients: number;
  readonly failure: SimulationFailure;
  /** Runs tried. */
  readonly tries: number;
}

/** What failed, without names and numbers: the same for the same check. */
export function checkOf(reason: string): string {
  return reason.split('\n')[0]!.replace(/[a-z]*\d[\w.]*/g, '#');
}

/** Tries to make a failing seed smaller, with at most `triesMax` runs. Returns null when the seed does not fail. */
export function shrink(seed: number, options: SimulationOptions, triesMax = 300): Shrunk | null {
  let tries = 0;
  const fails = (keep: readonly number[] | null, clients: number | null): SimulationFailure | null => {
    tries += 1;
    const shape = clients === null ? options.shape : { ...options.shape, clients };
    const flags =
      (options.flags ?? '') +
      (keep === null ? '' : ` --keep ${keep.join(',')}`) +
      (clients === null ? '' : ` --clients ${clients}`);
    try {
      simulate(seed, {
        ...options,
        flags,
        ...(shape === undefined ? {} : { shape }),
        ...(keep === null ? {} : { keepFaults: new Set(keep) }),
      });
    } catch (error) {
      if (error instanceof SimulationFailure) return error;
      throw error;
    }
    return null;
  };
  const first = fails(null, null);
  if (first === null) return null;
  const wanted = checkOf(first.reason);
  let best = { keep: [...Array(first.faults).keys()], clients: first.clients, failure: first };
  const attempt = (keep: readonly number[], clients: number): boolean => {
    if (tries >= triesMax) return false;
    const failure = fails(keep, clients);
    if (failure === null || checkOf(failure.reason) !== wanted) return false;
    best = { keep: [...keep], clients, failure };
    return true;
  };
  for (let clients = 1; clients < best.clients; clients += 1) if (attempt(best.keep, clients)) break;
  // Halves, quarters, ... down to single faults (delta debugging, Zeller 1999).
  for (let size = Math.ceil(best.keep.length / 2); size >= 1 && tries < triesMax; ) {
    let shrunk = false;
    for (let at = 0; at < best.keep.length; ) {
      const rest = [...best.keep.slice(0, at), ...best.keep.slice(at + size)];
      if (attempt(rest, best.clients)) shrunk = true;
      else at += size;
    }
    if (size === 1 && !shrunk) break;
    size = Math.max(1, Math.floor(size / 2));
  }
  return { keepFaults: best.keep, clients: best.clients, failure: best.failure, tries };
}

/** Weights with only these kinds of faults; throws for a kind that does not exist. */
export function onlyFaults(kinds: readonly string[]): Record<string, number> {
  for (const kind of kinds) if (!(kind in FAULT_WEIGHTS)) throw new Error(`there is no fault ${kind}`);
  return Object.fromEntries(
    Object.entries(FAULT_WEIGHTS).map(([kind, weight]) => [kind, kinds.includes(kind) ? weight : 0]),
  );
}
