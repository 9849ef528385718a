/** What the data path of a router is made with, and what it tells of itself. */
import type { Clock } from '../common/clock.ts';
import type { Log } from '../common/log.ts';
import type { NodeRecord } from '../common/topology.ts';
import type { Connector } from '../common/wire/contract.ts';

/** Requests and bytes that a router holds; the defaults are those of limits.ts. */
export interface ProxyLimits {
  readonly requestsMax: number;
  readonly requestBytesMax: number;
  /** For one node; and for all partitions without a leader together. */
  readonly nodeRequestsMax: number;
}

export interface ProxyOptions {
  readonly connector: Pick<Connector, 'openSession'>;
  /** HOST:PORT under which this process reaches a node. */
  readonly addressOf: (node: NodeRecord) => string;
  /** Why partitions have no leader, by partition; asked only when requests have to be refused for it. */
  readonly unavailable: () => ReadonlyMap<number, string>;
  /** What the cluster waits for before it is formed. */
  readonly waitingFor: () => string;
  readonly log: Log;
  readonly limits?: Partial<ProxyLimits>;
  /** Default: the process's. */
  readonly clock?: Clock;
  /** The highest protocol version to speak with nodes; default: PROTOCOL_MAX. */
  readonly protocolMax?: number;
}

/** Figures for metrics. */
export interface ProxyStats {
  readonly sessions: number;
  readonly requests: number;
  readonly requestBytes: number;
  readonly held: number;
  readonly nodes: readonly { node: string; connected: boolean; queued: number; sent: number }[];
}
