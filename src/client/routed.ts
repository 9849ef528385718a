/**
 * Routed mode: one session with one router, any of the endpoints; the next one when it ends or says goaway.
 * Which partition lives where is the routers' affair.
 */
import { RingkeepError } from '../common/errors.ts';
import type { Welcome } from '../common/wire/messages.ts';
import type { Link, LinkOwner } from './link.ts';
import { Rotation } from './rotation.ts';
import type { Routes, RoutesHost } from './routes.ts';

/** Codes after which another try, here or elsewhere, makes no sense. */
const FATAL: ReadonlySet<string> = new Set(['VERSION_MISMATCH', 'WRONG_CLUSTER']);

/** Returns whether a connection's end speaks against the client and not against that one endpoint. */
export function isFatal(error: RingkeepError): boolean {
  return FATAL.has(error.code);
}

/** Sessions with routers, one at a time. */
export class RoutedRoutes implements Routes, LinkOwner {
  readonly #host: RoutesHost;
  readonly #rotation: Rotation;
  /** The link that new operations use, or that is being opened. */
  #current: Link | null = null;
  readonly #draining = new Set<Link>();
  #refusal: RingkeepError | null = null;
  #trouble: RingkeepError | null = null;
  #closed = false;

  constructor(host: RoutesHost, endpoints: readonly string[]) {
    this.#host = host;
    this.#rotation = new Rotation(endpoints, Math.floor(host.random() * endpoints.length));
  }

  route(_operation: unknown, now: number): Link | null {
    return this.ready(now) ? this.#current : null;
  }

  reroute(): boolean {
    return false;
  }

  ready(now: number): boolean {
    if (this.#current === null) this.#connect(now);
    return this.#current?.state === 'open';
  }

  trouble(): RingkeepError | null {
    return this.#trouble;
  }

  /** Routers answer that themselves. */
  obstacle(): null {
    return null;
  }

  /** Routers know who leads, and say so. */
  doubt(): void {}

  pump(): void {
    this.#current?.pump();
  }

  close(): void {
    this.#closed = true;
  }

  linkOpened(link: Link, welcome: Welcome): void {
    this.#refusal = this.#refuse(link, welcome);
    if (this.#refusal !== null) {
      link.close();
      return;
    }
    this.#rotation.succeeded();
    this.#trouble = null;
    this.#host.reporter.connected(link.address, welcome.role, welcome.nodeId);
    this.#host.wake();
  }

  #refuse(link: Link, welcome: Welcome): RingkeepError | null {
    if (welcome.role !== 'router') {
      const text = `${link.address} is a node, not a router; use mode "direct" to talk to nodes`;
      return new RingkeepError('UNAVAILABLE', text);
    }
    return this.#host.cluster.meet(welcome.clusterId, welcome.partitions, welcome.valueBytesMax);
  }

  linkDraining(link: Link): void {
    this.#draining.add(link);
    if (this.#current !== link) return;
    this.#current = null;
    this.#rotation.advance();
    if (!this.#closed) this.#connect(this.#host.now());
  }

  linkEnded(link: Link, error: RingkeepError): void {
    if (this.#draining.delete(link)) {
      this.#host.reporter.disconnected(link.address, error);
      return;
    }
    this.#current = null;
    if (this.#closed) return;
    const cause = this.#refusal ?? error;
    const served = link.opened && this.#refusal === null;
    this.#refusal = null;
    this.#trouble = cause;
    if (served) this.#host.reporter.disconnected(link.address, error);
    else this.#host.reporter.trouble(link.address, cause);
    // One that ends after its welcome has failed too: else a router that dies of every session is hammered.
    this.#rotation.failed(this.#host.now(), this.#host.random());
    if (isFatal(cause)) this.#host.fatal(cause);
    else this.#connect(this.#host.now());
  }

  #connect(now: number): void {
    const address = this.#rotation.candidate(now);
    if (address !== null && !this.#closed) this.#current = this.#host.openLink(address, '', this);
  }
}
