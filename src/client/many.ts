/** Many calls of one: how `getMany` and `putMany` keep few of theirs open. */

/** Operations of one such call that are open at once. */
const MANY_OPEN_MAX = 1_024;

/**
 * Runs `count` jobs, at most MANY_OPEN_MAX at once. Rejects with the first error and then starts no further
 * job.
 */
export async function inTurn(count: number, job: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (next < count && !failed) {
      const index = next;
      next += 1;
      try {
        await job(index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, MANY_OPEN_MAX) }, worker));
}
