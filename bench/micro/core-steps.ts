/** The cores of three nodes, without any I/O: a batch of operations from the request to the reply. */
import type { Bench } from 'tinybench';
import { CoreBench } from '../../test/support/core-bench.ts';
import { BATCH, putRequest } from './samples.ts';

/** Virtual ms of a batch: the tick, which hands over to the store, comes every 20. */
const BATCH_MS = 2;

/** Adds the steps. */
export function addCoreSteps(bench: Bench): void {
  let trio: CoreBench | null = null;
  let sequence = 0;
  const start = (): void => {
    trio = new CoreBench(['a', 'b', 'c']);
    trio.lead('a', 1);
    trio.advance(200);
    sequence = 0;
  };
  const round = (): void => {
    const { replies } = trio!.node('a');
    replies.length = 0;
    for (let count = 0; count < BATCH; count += 1) {
      sequence += 1;
      const { id: _id, ...put } = putRequest(sequence);
      trio!.put('a', put);
    }
    trio!.advance(BATCH_MS);
    const done = replies.filter(({ receipt }) => receipt?.durability === 'quorum').length;
    if (done !== BATCH) throw new Error(`${done} of ${BATCH} puts were acknowledged`);
    for (const { wal } of trio!.nodes) wal.length = 0;
  };
  bench.add(`put through three cores x${BATCH}`, round, { beforeAll: start });
}
