/**
 * Figures of a node's replicas, for whoever places them and shows how far moves are: how large they are, about; how much of those has
 * come that are being copied; how many requests a second those take that lead. Looked at now and then, one replica after the other.
 */
import { DiskError } from '../../common/disk.ts';
import type { ReplicaFigures } from '../../common/wire/messages.ts';
import { storeRange } from '../core/layout.ts';
import type { Leadership } from '../core/leadership.ts';
import type { Replica } from '../core/replica.ts';
import type { LevelStore } from '../level-store.ts';

interface Seen {
  readonly bytes: number;
  /** Requests per second since the look before. */
  readonly load: number;
  /** What the leadership had taken at the time of the look. */
  readonly leadership: Leadership | null;
  readonly taken: number;
  readonly at: number;
}

/** Looks at the replicas of one node. */
export class ReplicaWatch {
  readonly #store: Pick<LevelStore, 'sizeOf'>;
  readonly #replicas: () => Iterable<Replica>;
  readonly #sized: (replica: Replica, bytes: number) => void;
  readonly #seen = new Map<Replica, Seen>();
  #looking = false;
  #fresh = false;

  /** `sized` is told how large a replica is. */
  constructor(
    store: Pick<LevelStore, 'sizeOf'>,
    replicas: () => Iterable<Replica>,
    sized: (replica: Replica, bytes: number) => void,
  ) {
    this.#store = store;
    this.#sized = sized;
    this.#replicas = replicas;
  }

  /** Looks again, unless the last look is still under way. Resolves when it is over. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const replicas = [...this.#replicas()];
      for (const known of this.#seen.keys()) if (!replicas.includes(known)) this.#seen.delete(known);
      for (const replica of replicas) {
        const { from, to } = storeRange(replica.partition, replica.machine.generation);
        this.#note(replica, await this.#store.sizeOf(from, to));
      }
      this.#fresh = true;
    } catch (error) {
      // The store is being closed.
      if (!(error instanceof DiskError)) throw error;
    } finally {
      this.#looking = false;
    }
  }

  #note(replica: Replica, bytes: number): void {
    this.#sized(replica, bytes);
    const at = performance.now();
    const { leadership } = replica;
    const taken = leadership?.requests ?? 0;
    const before = this.#seen.get(replica);
    const known = before !== undefined && before.leadership === leadership;
    const load = known ? ((taken - before.taken) * 1_000) / (at - before.at) : 0;
    this.#seen.set(replica, { bytes, load, leadership, taken, at });
  }

  /** What to tell with the next heartbeat: all after a look, and whatever is being copied; else nothing. */
  news(): ReplicaFigures[] {
    const replicas = [...this.#replicas()];
    if (!this.#fresh && replicas.every(({ copiedBytes }) => copiedBytes === 0)) return [];
    this.#fresh = false;
    return replicas.map((replica) => ({
      partition: replica.partition,
      bytes: this.#seen.get(replica)?.bytes ?? 0,
      copied: replica.copiedBytes,
      load: Math.round(this.#seen.get(replica)?.load ?? 0),
    }));
  }
}
