/**
 * The links between simulated nodes and controllers: every node dials every controller and keeps redialing, as in
 * production. Its first message tells everything about it; changes follow.
 * It takes no part in what the messages mean.
 */
import type { Topology } from '../../src/common/topology.ts';
import type { Heartbeat, Prepare, ReplicaReport, Seal, SealReply } from '../../src/common/wire/messages.ts';
import type { NodeAttachment } from '../../src/router/controller/types.ts';
import type { Connection, Network } from './network.ts';

/** From a node: one of the fields is set. */
export interface ToController {
  readonly attachment?: NodeAttachment;
  readonly heartbeat?: Heartbeat;
  readonly sealReplies?: readonly SealReply[];
  readonly reports?: readonly ReplicaReport[];
}

/** To a node. */
export interface ToNode {
  readonly topology?: Topology;
  readonly seals?: readonly Seal[];
  readonly prepares?: readonly Prepare[];
  /** The controller refuses this run: its directory is an old copy. */
  readonly rolledBack?: string;
}

/** What a link needs of a node. */
export interface NodeEnd {
  readonly id: string;
  readonly running: boolean;
  attachment(): NodeAttachment | null;
  controllerMessage(message: ToNode): void;
}

/** What a link needs of a controller. */
export interface ControllerEnd {
  readonly id: string;
  /** It has read the topology store and takes connections. */
  readonly listening: boolean;
  nodeMessage(node: string, message: ToController): void;
  nodeClosed(node: string): void;
}

interface Link {
  readonly node: NodeEnd;
  readonly controller: ControllerEnd;
  connection: Connection<ToController, ToNode> | null;
  dialing: boolean;
  /** The connection is known to the controller: it sends nothing on one that it has heard nothing on. */
  accepted: boolean;
}

/** All links of a cluster. */
export class ControlLinks {
  private readonly network: Network;
  private readonly links: Link[] = [];

  constructor(network: Network) {
    this.network = network;
  }

  /** Adds the links between `nodes` and a controller. */
  add(nodes: readonly NodeEnd[], controller: ControllerEnd): void {
    for (const node of nodes) {
      this.links.push({ node, controller, connection: null, dialing: false, accepted: false });
    }
  }

  /** A node or controller has started. */
  started(id: string): void {
    for (const link of this.of(id)) this.dial(link);
  }

  /** A node or controller has crashed. */
  stopped(id: string): void {
    for (const link of this.of(id)) {
      link.connection?.break();
      link.connection = null;
    }
  }

  /** Sends from a node to every controller it is connected to. */
  toControllers(node: string, message: ToController): void {
    for (const link of this.of(node)) if (link.node.id === node) link.connection?.sendRight(message);
  }

  /** Sends from a controller to a node, or to all of them. */
  toNode(controller: string, node: string | null, message: ToNode): void {
    for (const link of this.of(controller)) {
      if (link.accepted && (node === null || link.node.id === node)) link.connection?.sendLeft(message);
    }
  }

  /** A controller ends its stream with a node, which attaches again. */
  close(controller: string, node: string): void {
    for (const link of this.of(controller)) {
      if (link.accepted && link.node.id === node) link.connection?.break();
    }
  }

  private of(id: string): Link[] {
    return this.links.filter((link) => link.node.id === id || link.controller.id === id);
  }

  private dial(link: Link): void {
    if (link.dialing || link.connection !== null) return;
    link.dialing = true;
    const { world } = this.network;
    world.schedule(world.between(2, 30), () => this.tryDial(link));
  }

  private tryDial(link: Link): void {
    const { node, controller } = link;
    const { world } = this.network;
    if (!node.running || !controller.listening) {
      link.dialing = false;
      return;
    }
    const attachment = this.network.reachable(node.id, controller.id) ? node.attachment() : null;
    if (attachment === null) {
      world.schedule(world.between(50, 200), () => this.tryDial(link));
      return;
    }
    link.dialing = false;
    const connection: Connection<ToController, ToNode> = this.network.connect(
      node.id,
      controller.id,
      {
        message: (message) => node.controllerMessage(message),
        closed: () => {
          if (link.connection === connection) link.connection = null;
          this.dial(link);
        },
      },
      {
        message: (message) => {
          if (link.connection === connection) link.accepted = true;
          controller.nodeMessage(node.id, message);
        },
        closed: () => {
          if (link.connection === null || link.connection === connection) controller.nodeClosed(node.id);
        },
      },
    );
    link.connection = connection;
    link.accepted = false;
    connection.sendRight({ attachment });
  }
}
