/**
 * Which replica to read from: the less loaded of two random ones (Mitzenmacher, "The power of two choices in randomized load
 * balancing", 1996). Load is what is unanswered there, so one that is slow or paused is left alone by itself.
 */

/** Returns the less loaded of two different candidates drawn at random; undefined if there is none. */
export function lessLoaded<T>(
  candidates: readonly T[],
  loadOf: (candidate: T) => number,
  random: () => number,
): T | undefined {
  const { length } = candidates;
  if (length < 2) return candidates[0];
  const first = Math.floor(random() * length);
  const second = (first + 1 + Math.floor(random() * (length - 1))) % length;
  const [one, other] = [candidates[first]!, candidates[second]!];
  return loadOf(other) < loadOf(one) ? other : one;
}

/** Whether an attempt of a read that any voter may answer goes to the leader: every second one, from 1. */
export function goesToLeader(attempt: number): boolean {
  return attempt % 2 === 0;
}
