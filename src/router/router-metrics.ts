/**
 * Prometheus metrics of a router. Figures are read when somebody asks; nothing here runs per request.
 * INVARIANT: labels come from fixed sets (operations, codes, bounds, event names of our own) or are node ids (`target`).
 */
import { boundedLabel, Counter, createRegistry, Gauge, type Registry } from '../common/metrics.ts';
import type { ServerStats } from '../common/wire/server.ts';
import type { RebalanceStatus } from './controller/rebalance.ts';
import type { ControllerStatus } from './controller/types.ts';
import type { ControllerCounts } from './controller-shell.ts';
import type { ProxyStats } from './proxy-options.ts';
import type { RequestCounters } from './request-counters.ts';

/** Where the figures come from. */
export interface RouterSources {
  readonly proxy: () => ProxyStats;
  readonly requests: RequestCounters;
  readonly controller: () => ControllerStatus;
  readonly counts: () => ControllerCounts;
  readonly moves: () => RebalanceStatus | null;
  readonly server: () => ServerStats;
  readonly watchers: () => number;
}

const PREFIX = 'ringkeep_router_';
const NODE_LABELS_MAX = 256;
const EVENT_LABELS_MAX = 64;
const MOVE_STATES = ['done', 'active', 'waiting'] as const;
const RUNNING: ReadonlySet<string> = new Set(['running', 'aborting']);

type Row<L extends string> = readonly [labels: Partial<Record<L, string>>, value: number];

/** Registers series whose rows are read anew at every scrape. */
function define<L extends string>(
  registry: Registry,
  Kind: typeof Counter<L> | typeof Gauge<L>,
  name: string,
  help: string,
  labelNames: readonly L[],
  read: () => readonly Row<L>[],
): void {
  new Kind({
    name: PREFIX + name,
    help,
    labelNames: [...labelNames],
    registers: [registry],
    collect() {
      this.reset();
      for (const [labels, value] of read()) this.inc(labels as Record<L, string>, value);
    },
  });
}

function defineRequests(registry: Registry, sources: RouterSources, node: (id: string) => string): void {
  const { requests, proxy } = sources;
  define(registry, Counter, 'requests_total', 'Answered requests.', ['operation', 'code'], () =>
    requests.answered().map(({ operation, code, count }) => [{ operation, code }, count]),
  );
  define(registry, Counter, 'refused_total', 'Requests refused with OVERLOADED.', ['bound'], () =>
    requests.refusals().map(({ bound, count }) => [{ bound }, count]),
  );
  define(
    registry,
    Counter,
    'forwarded_again_total',
    'Requests that met a node without the leadership.',
    [],
    () => [[{}, requests.forwardedAgain]],
  );
  define(
    registry,
    Counter,
    'shared_reads_total',
    'Gets that went with another one of the same key.',
    [],
    () => [[{}, requests.sharedReads]],
  );
  const salted = 'Gets that went to copies of hot keys in other partitions.';
  define(registry, Counter, 'salted_reads_total', salted, [], () => [[{}, requests.saltedReads]]);
  const home = 'Gets that no copy of their hot key answered, and that went home.';
  define(registry, Counter, 'salted_reads_home_total', home, [], () => [[{}, requests.saltedReadsHome]]);
  define(registry, Gauge, 'requests_in_flight', 'Requests in the router.', [], () => [
    [{}, proxy().requests],
  ]);
  define(registry, Gauge, 'request_bytes', 'Bytes of requests in the router.', [], () => [
    [{}, proxy().requestBytes],
  ]);
  define(registry, Gauge, 'requests_held', 'Requests whose partition has no leader.', [], () => [
    [{}, proxy().held],
  ]);
  define(registry, Gauge, 'node_requests', 'Requests on the way to a node.', ['target', 'state'], () =>
    proxy().nodes.flatMap(({ node: id, queued, sent }) => [
      [{ target: node(id), state: 'queued' }, queued],
      [{ target: node(id), state: 'sent' }, sent],
    ]),
  );
  define(registry, Gauge, 'node_connected', '1 while requests can be sent to the node.', ['target'], () =>
    proxy().nodes.map(({ node: id, connected }) => [{ target: node(id) }, connected ? 1 : 0]),
  );
}

function defineController(registry: Registry, sources: RouterSources, node: (id: string) => string): void {
  const { controller, counts } = sources;
  const event = boundedLabel(EVENT_LABELS_MAX);
  define(registry, Counter, 'controller_cas_total', 'Writes to the topology store.', ['outcome'], () =>
    Object.entries(counts().cas).map(([outcome, count]) => [{ outcome }, count]),
  );
  define(registry, Counter, 'controller_events_total', 'Events of the controller.', ['event'], () =>
    [...counts().events].map(([name, count]) => [{ event: event(name) }, count]),
  );
  define(registry, Counter, 'controller_failovers_total', 'Unplanned failovers begun.', [], () => [
    [{}, counts().events.get('failover_started') ?? 0],
  ]);
  define(registry, Gauge, 'leaders', 'Partitions led by a node.', ['target'], () =>
    controller().nodes.map(({ id, leaders }) => [{ target: node(id) }, leaders]),
  );
  define(registry, Gauge, 'node_alive', 'What the failure detector thinks of a node.', ['target'], () =>
    controller().nodes.map(({ id, alive }) => [{ target: node(id) }, alive ? 1 : 0]),
  );
  define(registry, Gauge, 'partitions', 'Partitions by what the controller does with them.', ['phase'], () =>
    controller().partitions.map(({ phase }) => [{ phase }, 1]),
  );
  define(registry, Gauge, 'moves', 'Moves of the last plan by how they stand.', ['state'], () => {
    const counted = new Map([...MOVE_STATES].map((state) => [state, 0]));
    for (const { state } of sources.moves()?.moves ?? []) counted.set(state, counted.get(state)! + 1);
    return [...counted].map(([state, count]) => [{ state }, count]);
  });
  define(registry, Gauge, 'moves_running', '1 while a plan of moves is carried out.', [], () => [
    [{}, RUNNING.has(sources.moves()?.state ?? '') ? 1 : 0],
  ]);
  define(registry, Gauge, 'replicas_stuck', 'Replicas that should move and have nowhere to go.', [], () => [
    [{}, sources.moves()?.stuck.length ?? 0],
  ]);
  define(registry, Gauge, 'formed', '1 once the cluster exists.', [], () => [
    [{}, controller().mode === 'active' ? 1 : 0],
  ]);
}

/** Makes the registry of a router. */
export function createRouterMetrics(routerId: string, sources: RouterSources): Registry {
  const registry = createRegistry({ process: 'router', node: routerId });
  const node = boundedLabel(NODE_LABELS_MAX);
  defineRequests(registry, sources, node);
  defineController(registry, sources, node);
  define(registry, Gauge, 'sessions', 'Open client sessions.', [], () => [[{}, sources.server().sessions]]);
  define(registry, Gauge, 'watchers', 'Clients that watch the topology.', [], () => [
    [{}, sources.watchers()],
  ]);
  define(registry, Gauge, 'reply_bytes', 'Unsent reply bytes.', [], () => [
    [{}, sources.server().replyBytes],
  ]);
  return registry;
}
