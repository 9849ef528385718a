/**
 * The network between the processes of a chaos run: a proxy for every pair of which one dials the other, and the flows
 * between every two of them. Nodes dial nodes and the router, the router dials nodes; clients are not behind it.
 * INVARIANT: `heal` leaves every flow as it was at the start.
 */
import { assert } from '../common/errors.ts';
import { createRandom, type Random } from '../common/random.ts';
import { parseAddress } from '../common/wire/address.ts';
import { CLEAR, Flow, type FlowShape, LinkProxy } from './link-proxy.ts';

/** What is behind links: a name and where it listens. */
export interface Endpoint {
  readonly name: string;
  readonly address: string;
}

/** The flows and proxies of one cluster. */
export class Links {
  readonly names: readonly string[];
  private readonly flows = new Map<string, Flow>();
  private readonly proxies = new Map<string, { readonly proxy: LinkProxy; readonly port: number }>();

  private constructor(
    endpoints: readonly Endpoint[],
    router: string,
    ports: Iterator<number>,
    random: Random,
  ) {
    this.names = endpoints.map(({ name }) => name);
    for (const from of this.names)
      for (const to of this.names) if (from !== to) this.flows.set(key(from, to), new Flow(from, to, random));
    for (const from of this.names) {
      for (const { name: to, address } of endpoints) {
        if (from === to || (from === router && to === router)) continue;
        const { host, port } = parseAddress(address);
        const proxy = new LinkProxy({ host, port }, this.flow(from, to), this.flow(to, from));
        const next = ports.next();
        assert(next.done !== true, 'a port for every link');
        this.proxies.set(key(from, to), { proxy, port: next.value });
      }
    }
  }

  /** Puts a proxy in the place of every link. `ports`: enough free ones. Rejects with the error of the system. */
  static async open(endpoints: readonly Endpoint[], router: string, ports: readonly number[], seed: number) {
    const links = new Links(endpoints, router, ports.values(), createRandom(seed));
    try {
      await Promise.all([...links.proxies.values()].map(({ proxy, port }) => proxy.listen(port)));
      return links;
    } catch (error) {
      links.close();
      throw error;
    }
  }

  /** Proxies that as many endpoints need. */
  static portsFor(endpoints: number): number {
    return endpoints * (endpoints - 1);
  }

  /** Where `from` dials to reach `to`. */
  address(from: string, to: string): string {
    return `127.0.0.1:${this.entry(from, to).port}`;
  }

  flow(from: string, to: string): Flow {
    const flow = this.flows.get(key(from, to));
    assert(flow !== undefined, `there is a flow from ${from} to ${to}`);
    return flow;
  }

  /** The proxy that `from` dials to reach `to`. */
  proxy(from: string, to: string): LinkProxy {
    return this.entry(from, to).proxy;
  }

  private entry(from: string, to: string) {
    const entry = this.proxies.get(key(from, to));
    assert(entry !== undefined, `there is a link from ${from} to ${to}`);
    return entry;
  }

  /** All flows. */
  get all(): Flow[] {
    return [...this.flows.values()];
  }

  /** The flows between a process and all others, both ways. */
  around(name: string): Flow[] {
    return this.all.filter(({ from, to }) => from === name || to === name);
  }

  /** The proxies of a process's links, those that it dials and those that are dialled. */
  proxiesAround(name: string): LinkProxy[] {
    return [...this.proxies.values()]
      .map(({ proxy }) => proxy)
      .filter(({ there }) => there.from === name || there.to === name);
  }

  /** Changes flows; returns them. */
  change(flows: readonly Flow[], shape: Partial<FlowShape>): Flow[] {
    for (const flow of flows) flow.set(shape);
    return [...flows];
  }

  /** Clears all flows, and breaks connections that are half open. */
  heal(): void {
    for (const flow of this.flows.values()) flow.set(CLEAR);
    for (const { proxy } of this.proxies.values()) proxy.mend();
  }

  /** Ends all proxies with their connections. */
  close(): void {
    for (const { proxy } of this.proxies.values()) proxy.close();
  }
}

function key(from: string, to: string): string {
  return `${from}>${to}`;
}
