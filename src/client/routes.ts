/**
 * The seam between the engine, which moves operations along, and the two ways to reach a cluster: through
 * routers (routed.ts) or straight to the leaders (direct.ts).
 */
import type { RingkeepError } from '../common/errors.ts';
import type { ClusterFacts } from './cluster-facts.ts';
import type { ClientReporter } from './events.ts';
import type { Link, LinkOwner, Transport } from './link.ts';
import type { Operation } from './operation.ts';
import type { SaltedGets } from './salted-gets.ts';

/** A way to reach the cluster. All connections are opened on demand; none keeps a timer. */
export interface Routes {
  /**
   * Returns an open link for the operation, or null after having seen to it that one will come, if it can.
   */
  route(operation: Operation, now: number): Link | null;
  /**
   * Takes what a refusal says of the leader; returns whether the operation now goes elsewhere than it just
   * went.
   */
  reroute(operation: Operation, error: RingkeepError): boolean;
  /** Whether operations can be sent; opens what is needed. */
  ready(now: number): boolean;
  /** What keeps the cluster from being reached, if anything. */
  trouble(): RingkeepError | null;
  /** What is known to keep this one operation from a leader at present, if anything. */
  obstacle(operation: Operation): RingkeepError | null;
  /** A leader does not answer: what is known of leaders may be old. */
  doubt(now: number): void;
  /** Sends what was held back by a full session. Called with every sweep. */
  pump(): void;
  /** Opens nothing any more and ends what is no link; the engine ends the links. */
  close(): void;
}

/** What routes need from the engine. */
export interface RoutesHost {
  readonly transport: Transport;
  readonly reporter: ClientReporter;
  readonly random: () => number;
  readonly now: () => number;
  readonly connectTimeoutMs: number;
  /** Which cluster this is; routes tell it what they are welcomed with. */
  readonly cluster: ClusterFacts;
  readonly clientId: Uint8Array;
  readonly salted: SaltedGets;
  /** Opens a session; `expectedNode` is empty for any. */
  openLink(address: string, expectedNode: string, owner: LinkOwner): Link;
  /** Routes the waiting operations of a partition, or all of them, again. */
  wake(partition?: number): void;
  /** These partitions are led at these addresses now: what other leaders have not answered is asked there, under the same ids. */
  moved(leaders: ReadonlyMap<number, string>): void;
  /** Ends the waiting operations: no retry can help. */
  fatal(error: RingkeepError): void;
}
