/**
 * The clients' connections to one simulated node: which requests are open on each, so that every reply is checked against
 * its request on its way out. It takes no part in what requests mean.
 */
import type { Reply, Request } from '../../src/common/wire/messages.ts';
import type { ClientChecks } from './client-checks.ts';
import type { World } from './world.ts';

/** A client's connection, seen from the node. */
interface Session {
  readonly clientId: Uint8Array;
  readonly reply: (reply: Reply) => void;
  readonly open: Map<number, Request>;
}

/** The sessions of one node; they end with its process. */
export class NodeSessions {
  private readonly node: string;
  private readonly world: World;
  private readonly checks: ClientChecks;
  private readonly sessions = new Map<number, Session>();
  private next = 1;

  constructor(node: string, world: World, checks: ClientChecks) {
    this.node = node;
    this.world = world;
    this.checks = checks;
  }

  /** Opens a connection and returns its number. */
  open(clientId: Uint8Array, reply: (reply: Reply) => void): number {
    const connection = this.next++;
    this.sessions.set(connection, { clientId, reply, open: new Map() });
    return connection;
  }

  has(connection: number): boolean {
    return this.sessions.has(connection);
  }

  /** Notes a request that the node takes up now, and returns the id of its client. */
  begin(connection: number, request: Request): Uint8Array {
    const session = this.sessions.get(connection);
    session?.open.set(request.id, request);
    return session?.clientId ?? new Uint8Array(0);
  }

  /** Returns whether the connection was open. */
  close(connection: number): boolean {
    return this.sessions.delete(connection);
  }

  clear(): void {
    this.sessions.clear();
  }

  /** Checks and sends a reply, unless nobody waits for it any more. */
  answer(connection: number, reply: Reply): void {
    const session = this.sessions.get(connection);
    const request = session?.open.get(reply.id);
    if (session === undefined || request === undefined) return;
    session.open.delete(reply.id);
    // A router passes on whose request it is.
    const clientId = request.clientId.length > 0 ? request.clientId : session.clientId;
    this.checks.replied(this.node, request, clientId, reply);
    this.world.count(`reply ${reply.failure?.code ?? reply.receipt?.durability ?? reply.result}`);
    if (reply.receipt?.duplicate === true) this.world.count('reply duplicate');
    session.reply(reply);
  }
}
