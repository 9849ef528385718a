/**
 * The links between simulated nodes: one per ordered pair, either a stream that the receiver dials and redials, as in
 * production, or datagrams, which the cores must stand too.
 * INVARIANT: a stream's sender is told `connected` before anything is delivered through a new connection.
 */
import type { PeerMessage } from '../../src/common/wire/messages.ts';
import type { Connection, Network } from './network.ts';

/** What a link needs of a node. */
export interface PeerEnd {
  readonly id: string;
  /** The process runs (it may be paused). */
  readonly running: boolean;
  peerConnected(node: string): void;
  peerMessages(node: string, messages: readonly PeerMessage[]): void;
}

interface Link {
  readonly from: PeerEnd;
  readonly to: PeerEnd;
  connection: Connection<readonly PeerMessage[], never> | null;
  dialing: boolean;
}

/** All links of a cluster. */
export class PeerLinks {
  private readonly network: Network;
  private readonly links = new Map<string, Link>();
  private readonly ends: PeerEnd[] = [];

  constructor(network: Network) {
    this.network = network;
  }

  /** Adds a node; its links come up when it starts. */
  add(end: PeerEnd): void {
    for (const other of this.ends) {
      this.links.set(`${end.id}>${other.id}`, { from: end, to: other, connection: null, dialing: false });
      this.links.set(`${other.id}>${end.id}`, { from: other, to: end, connection: null, dialing: false });
    }
    this.ends.push(end);
  }

  /** A node has started: links from and to it are dialed. */
  started(node: string): void {
    for (const link of this.links.values()) if (link.from.id === node || link.to.id === node) this.dial(link);
  }

  /** A node has crashed: its connections break. */
  stopped(node: string): void {
    for (const link of this.links.values()) {
      if (link.from.id !== node && link.to.id !== node) continue;
      link.connection?.break();
      link.connection = null;
    }
  }

  /** Sends a batch; it is lost while the link is down. */
  send(from: string, to: string, messages: readonly PeerMessage[]): void {
    const link = this.links.get(`${from}>${to}`);
    if (link === undefined) return;
    const copies = messages.map(copyMessage);
    if (!this.network.profile.datagrams) {
      link.connection?.sendRight(copies);
      return;
    }
    for (const message of copies) {
      this.network.datagram(from, to, () => {
        if (link.to.running) link.to.peerMessages(from, [copyMessage(message)]);
      });
    }
  }

  private dial(link: Link): void {
    if (link.dialing || link.connection !== null) return;
    link.dialing = true;
    const { world } = this.network;
    world.schedule(world.between(2, 20), () => this.tryDial(link));
  }

  private tryDial(link: Link): void {
    const { from, to } = link;
    const { world } = this.network;
    if (!from.running || !to.running) {
      link.dialing = false;
      return;
    }
    if (!this.network.reachable(from.id, to.id)) {
      world.schedule(world.between(50, 200), () => this.tryDial(link));
      return;
    }
    link.dialing = false;
    const connection: Connection<readonly PeerMessage[], never> = this.network.connect(
      from.id,
      to.id,
      { message: () => {}, closed: () => this.closed(link, connection) },
      { message: (messages) => to.peerMessages(from.id, messages), closed: () => {} },
    );
    link.connection = connection;
    from.peerConnected(to.id);
  }

  private closed(link: Link, connection: Connection<readonly PeerMessage[], never>): void {
    if (link.connection === connection) link.connection = null;
    this.dial(link);
  }
}

/** Copies the envelope, the body and its lists: sender and receiver share only byte strings, which nobody changes. */
function copyMessage(message: PeerMessage): PeerMessage {
  const { append, snapshotChunk } = message;
  return {
    ...message,
    ...(append == null ? {} : { append: { ...append, entries: [...append.entries] } }),
    ...(snapshotChunk == null
      ? {}
      : {
          snapshotChunk: {
            ...snapshotChunk,
            keys: [...snapshotChunk.keys],
            values: [...snapshotChunk.values],
          },
        }),
  };
}

/** A message in a few words, for the trace. */
export function describeMessage(message: PeerMessage): string {
  const { partition, epoch, body, append, appendReply, confirm, confirmReply } = message;
  const head = `p${partition} e${epoch} ${body}`;
  if (append != null) return `${head} ${append.prevIndex}+${append.entries.length} c${append.commitIndex}`;
  if (appendReply != null) return `${head} ${appendReply.success} ${appendReply.matchIndex}`;
  if (confirm != null) return `${head} r${confirm.round}`;
  if (confirmReply != null) return `${head} r${confirmReply.round} ${confirmReply.granted}`;
  return head;
}
