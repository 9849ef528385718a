/**
 * What the client knows of the cluster as a whole: its id, its number of partitions, its longest value.
 * Learnt from the first welcome or topology; every later one is held against it. Pure.
 * INVARIANT: id and number of partitions never change once known: keys would be looked for in the wrong
 * partition.
 */
import { RingkeepError } from '../common/errors.ts';

/** Facts of one cluster. */
export class ClusterFacts {
  #clusterId = '';
  #partitions = 0;
  #valueBytesMax: number;

  constructor(valueBytesMax: number) {
    this.#valueBytesMax = valueBytesMax;
  }

  /** Id of the cluster; empty before it was met. */
  get clusterId(): string {
    return this.#clusterId;
  }

  /** Partitions of the cluster, or 0 before it was met. */
  get partitions(): number {
    return this.#partitions;
  }

  /** Longest value in bytes that the cluster takes, as far as is known. */
  get valueBytesMax(): number {
    return this.#valueBytesMax;
  }

  /**
   * Takes what somebody says of the cluster; `valueBytesMax` 0 says nothing. Returns null, or why it is not
   * usable: NOT_READY if it has no partitions yet, WRONG_CLUSTER if it is another than before.
   */
  meet(clusterId: string, partitions: number, valueBytesMax: number): RingkeepError | null {
    if (partitions === 0) return new RingkeepError('NOT_READY', 'the cluster has not been formed yet');
    const sameId = this.#clusterId === '' || clusterId === '' || clusterId === this.#clusterId;
    if (!sameId || (this.#partitions !== 0 && partitions !== this.#partitions)) {
      const known = `${this.#clusterId} with ${this.#partitions} partitions`;
      const text = `cluster ${clusterId} with ${partitions} partitions is not the one met before, ${known}`;
      return new RingkeepError('WRONG_CLUSTER', text);
    }
    if (this.#clusterId === '') this.#clusterId = clusterId;
    this.#partitions = partitions;
    if (valueBytesMax > 0) this.#valueBytesMax = valueBytesMax;
    return null;
  }
}
