/**
 * How large the replicas of a node are, about, and how much of those has come that are being copied: for whoever plans moves and shows how
 * far they are. Asked of the store now and then, one replica after the other.
 */
import { DiskError } from '../../common/disk.ts';
import type { ReplicaSize } from '../../common/wire/messages.ts';
import { storeRange } from '../core/layout.ts';
import type { Replica } from '../core/replica.ts';
import type { LevelStore } from '../level-store.ts';

/** Looks at the replicas of one node. */
export class ReplicaSizes {
  readonly #store: Pick<LevelStore, 'sizeOf'>;
  readonly #replicas: () => Iterable<Replica>;
  readonly #bytes = new Map<Replica, number>();
  #looking = false;
  #fresh = false;

  constructor(store: Pick<LevelStore, 'sizeOf'>, replicas: () => Iterable<Replica>) {
    this.#store = store;
    this.#replicas = replicas;
  }

  /** Looks again, unless the last look is still under way. Resolves when it is over. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const replicas = [...this.#replicas()];
      for (const known of this.#bytes.keys()) if (!replicas.includes(known)) this.#bytes.delete(known);
      for (const replica of replicas) {
        const { from, to } = storeRange(replica.partition, replica.machine.generation);
        this.#bytes.set(replica, await this.#store.sizeOf(from, to));
      }
      this.#fresh = true;
    } catch (error) {
      // The store is being closed.
      if (!(error instanceof DiskError)) throw error;
    } finally {
      this.#looking = false;
    }
  }

  /** What to tell with the next heartbeat: all after a look, and whatever is being copied; else nothing. */
  news(): ReplicaSize[] {
    const replicas = [...this.#replicas()];
    if (!this.#fresh && replicas.every(({ copiedBytes }) => copiedBytes === 0)) return [];
    this.#fresh = false;
    return replicas.map((replica) => ({
      partition: replica.partition,
      bytes: this.#bytes.get(replica) ?? 0,
      copied: replica.copiedBytes,
    }));
  }
}
