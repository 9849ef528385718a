/**
 * A node's streams to the routers, one of which is the controller: registers, sends heartbeats and reports, hands on
 * what the controller says. The node dials, so that a router needs no address of a node to reach it for control.
 * INVARIANT: every stream begins with all reports; later ones carry changes only.
 * INVARIANT: one topology store is obeyed at a time (followed-store.ts).
 */

import { RingkeepError } from '../../common/errors.ts';
import { HEARTBEAT_MS } from '../../common/limits.ts';
import type { Log } from '../../common/log.ts';
import type { Attachment, Connector, NodePart, Opening } from '../../common/wire/contract.ts';
import type {
  AddressCheck,
  ControllerMessage,
  Heartbeat,
  Hello,
  Welcome,
} from '../../common/wire/messages.ts';
import { type Reconnecting, reconnecting } from '../../common/wire/reconnecting.ts';
import { FollowedStore } from './followed-store.ts';

export interface ControllerEvents {
  opening(): Opening;
  heartbeat(sequence: number): Heartbeat;
  /** Returns false to refuse: the router belongs to another cluster. */
  welcomed(welcome: Welcome): boolean;
  message(message: ControllerMessage): void;
  /** A router refused this node for good. */
  refused(error: RingkeepError): void;
}

/** What dialing again does not get over. */
const REFUSALS: ReadonlySet<string> = new Set(['WRONG_CLUSTER', 'WRONG_NODE', 'ROLLED_BACK']);

/** Keeps a stream to every router open. */
export class ControllerLinks {
  private readonly links: Reconnecting<Attachment>[] = [];
  private readonly events: ControllerEvents;
  private readonly log: Log;
  private readonly timer: NodeJS.Timeout;
  private readonly followed = new FollowedStore();
  private sequence = 0;

  constructor(options: {
    routers: readonly string[];
    connector: Connector;
    hello: () => Hello;
    events: ControllerEvents;
    log: Log;
  }) {
    this.events = options.events;
    this.log = options.log;
    for (const address of options.routers) {
      this.links.push(reconnecting((signals) => this.attach(address, options, signals)));
    }
    this.timer = setInterval(() => this.heartbeat(), HEARTBEAT_MS);
  }

  private attach(
    address: string,
    options: { connector: Connector; hello: () => Hello },
    signals: { up(): void; down(): void },
  ): Attachment {
    const hello = { ...options.hello(), storeId: this.followed.current(performance.now()) };
    let storeId = '';
    let follows = false;
    const attachment = options.connector.attachController(address, hello, this.events.opening(), {
      onWelcome: (welcome) => {
        storeId = welcome.storeId;
        if (!this.events.welcomed(welcome)) {
          const { clusterId } = welcome;
          this.events.refused(
            new RingkeepError('WRONG_CLUSTER', `the router at ${address} leads ${clusterId}`),
          );
          attachment.close();
          return;
        }
        signals.up();
        this.log.info('controller_attached', { router: address });
      },
      onMessage: (message) => {
        if (message.addressCheck !== null) return this.addressChecked(address, message.addressCheck);
        if (!this.followed.allows(storeId, performance.now())) {
          this.log.error('second_router', { router: address, storeId });
          attachment.close();
          return;
        }
        if (message.topology !== null && !follows) {
          follows = true;
          this.followed.joined(storeId);
        }
        this.events.message(message);
      },
      onEnd: (error) => {
        if (follows) this.followed.left(storeId, performance.now());
        this.log.debug('controller_detached', { router: address, code: error.code });
        if (REFUSALS.has(error.code)) this.events.refused(error);
        signals.down();
      },
    });
    return attachment;
  }

  /** Such a message carries nothing else. */
  private addressChecked(router: string, { address, trouble }: AddressCheck): void {
    if (trouble === '') this.log.info('advertised_address_reached', { address, router });
    else this.log.error('advertised_address_unreachable', { address, router, trouble });
  }

  /** Sends a heartbeat now, besides the regular ones. */
  heartbeat(): void {
    this.sequence++;
    this.send({ heartbeat: this.events.heartbeat(this.sequence) });
  }

  /** Sends to every router that is attached. */
  send(part: NodePart): void {
    for (const link of this.links) if (link.current?.ready === true) link.current.send(part);
  }

  get attached(): boolean {
    return this.links.some((link) => link.current?.ready === true);
  }

  stop(): void {
    clearInterval(this.timer);
    for (const link of this.links) link.stop();
  }
}
