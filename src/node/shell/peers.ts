/**
 * The replication links of a node: one stream from every other node that it subscribes to (what they have for us), and
 * the streams of those that subscribed here (what we have for them). Follows the topology's addresses; `--peer`
 * overrides win, so that a test can put a proxy into each direction of each pair.
 * INVARIANT: a message that cannot be sent is dropped; the core sends again what matters.
 */

import { RingkeepError } from '../../common/errors.ts';
import type { Log } from '../../common/log.ts';
import type { NodeRecord } from '../../common/topology.ts';
import type {
  Connector,
  Peer,
  PeerPush,
  ReplicationHandler,
  Subscription,
} from '../../common/wire/contract.ts';
import type { Hello, PeerMessage } from '../../common/wire/messages.ts';
import { type Reconnecting, reconnecting } from '../../common/wire/reconnecting.ts';

interface Inbound {
  readonly address: string;
  readonly link: Reconnecting<Subscription>;
}

export interface PeerEvents {
  connected(node: string): void;
  /** A node from which messages come now speaks this protocol version. */
  speaks(node: string, protocol: number): void;
  messages(node: string, messages: PeerMessage[]): void;
}

/** Keeps the replication links of one node. */
export class PeerLinks {
  private readonly nodeId: string;
  private readonly connector: Connector;
  private readonly overrides: ReadonlyMap<string, string>;
  private readonly hello: (expectedNode: string) => Hello;
  private readonly events: PeerEvents;
  private readonly log: Log;
  private readonly inbound = new Map<string, Inbound>();
  private readonly outbound = new Map<string, PeerPush>();

  constructor(options: {
    nodeId: string;
    connector: Connector;
    overrides: ReadonlyMap<string, string>;
    hello: (expectedNode: string) => Hello;
    events: PeerEvents;
    log: Log;
  }) {
    this.nodeId = options.nodeId;
    this.connector = options.connector;
    this.overrides = options.overrides;
    this.hello = options.hello;
    this.events = options.events;
    this.log = options.log;
  }

  /** Follows the addresses of the topology: subscribes to every other node. */
  follow(nodes: readonly NodeRecord[]): void {
    for (const node of nodes) {
      if (node.id === this.nodeId) continue;
      const address = this.overrides.get(node.id) ?? node.address;
      const known = this.inbound.get(node.id);
      if (node.membership === 'NODE_GONE') {
        known?.link.stop();
        this.inbound.delete(node.id);
        continue;
      }
      if (known?.address === address) continue;
      known?.link.stop();
      this.inbound.set(node.id, { address, link: this.subscribe(node.id, address) });
    }
  }

  private subscribe(node: string, address: string): Reconnecting<Subscription> {
    return reconnecting((signals) =>
      this.connector.subscribePeer(address, this.hello(node), {
        onWelcome: ({ protocol }) => {
          signals.up();
          this.log.info('peer_link_up', { peer: node, address, protocol });
          this.events.speaks(node, protocol);
        },
        onMessages: (messages) => this.events.messages(node, messages),
        onEnd: (error) => {
          this.log.debug('peer_link_down', { peer: node, address, code: error.code });
          signals.down();
        },
      }),
    );
  }

  /** The service that other nodes subscribe to. */
  readonly service: ReplicationHandler = {
    onSubscribe: (peer: Peer, push: PeerPush) => {
      const { nodeId, role } = peer.hello;
      if (role !== 'node' || nodeId === '' || nodeId === this.nodeId) {
        throw new RingkeepError('INVALID_ARGUMENT', 'only another node subscribes to replication');
      }
      this.outbound.get(nodeId)?.close();
      this.outbound.set(nodeId, push);
      this.events.connected(nodeId);
      return {
        onEnd: () => {
          if (this.outbound.get(nodeId) === push) this.outbound.delete(nodeId);
        },
      };
    },
  };

  /** Sends to a node if it is subscribed and keeps up. */
  send(node: string, messages: PeerMessage[]): void {
    this.outbound.get(node)?.push(messages);
  }

  /** Nodes that are subscribed here. */
  get connected(): number {
    return this.outbound.size;
  }

  stop(): void {
    for (const { link } of this.inbound.values()) link.stop();
    this.inbound.clear();
  }
}
