/**
 * What one life of a router does with the requests of its clients, seen from both sides of its proxy: every request that
 * comes in, every send to a node, every answer. The proxy's own figures are compared with these, never believed.
 * INVARIANT: it changes nothing but `traceParent`, the mark by which a request is known on both sides.
 */
import type {
  Connector,
  KeyValueHandler,
  SessionConnection,
  SessionHandlers,
} from '../../src/common/wire/contract.ts';
import type { Reply, Request } from '../../src/common/wire/messages.ts';
import type { World } from './world.ts';

/** One time that a request was sent to a node. */
interface Send {
  readonly node: string;
  /** The node's last reply, and when it came. */
  answer: Reply | null;
  answeredAt: number;
}

/** A get that went for several clients. */
interface SharedSend extends Send {
  readonly of: string;
  readonly sentAt: number;
}

/** A request that the proxy has been given. */
interface Taken {
  readonly name: string;
  readonly write: boolean;
  readonly at: number;
  /** Gets of the same key and level have this in common. */
  readonly of: string;
  /** Virtual time at which the time that it was given is over. */
  readonly deadline: number;
  readonly sends: Send[];
}

type Open = Map<number, Taken>;

/** A router answers what no node has at its deadline; what one has, a grace later. It looks every SWEEP_MS (proxy.ts). */
const SWEEP_MS = 20;
const GRACE_MS = 100;

/** Longer than any request of a simulated client takes, ms. */
const SHARED_MS = 10_000;

function sharedOf({ get, keyspace, key }: Request): string {
  return `${get?.level} ${keyspace} ${Buffer.from(key).toString('latin1')}`;
}

/** Whether a send can have had no effect. */
function isHarmless({ answer }: Send): boolean {
  return answer?.failure?.outcome === 'not_applied';
}

export class RouterChecks {
  private readonly world: World;
  private readonly router: string;
  /** By mark. */
  private readonly taken = new Map<string, Taken>();
  private marks = 0;
  private shared: SharedSend[] = [];

  constructor(world: World, router: string) {
    this.world = world;
    this.router = router;
  }

  /** Requests that need their last reply. */
  get open(): number {
    return this.taken.size;
  }

  /** Stands in front of the proxy, on the side of the clients. `taken` is called after requests. */
  handler(proxy: KeyValueHandler, taken: () => void): KeyValueHandler {
    return {
      onSession: (peer, connection) => {
        const open: Open = new Map();
        const sink = proxy.onSession(peer, this.watched(connection, open));
        return {
          onRequests: (requests) => {
            for (const request of requests) this.take(open, peer.remote, request);
            sink.onRequests(requests);
            taken();
          },
          onCancels: (ids) => sink.onCancels(ids),
          onCredits: (credits) => sink.onCredits(credits),
          onEnd: () => {
            for (const name of open.values()) this.taken.delete(name.name);
            open.clear();
            sink.onEnd();
          },
        };
      },
    };
  }

  /** Stands behind the proxy, on the side of the nodes. */
  connector(inner: Pick<Connector, 'openSession'>): Pick<Connector, 'openSession'> {
    return {
      openSession: (node, hello, handlers, options) => {
        const sent = new Map<number, Send>();
        const session = inner.openSession(node, hello, this.listening(handlers, sent), options);
        return {
          get ready() {
            return session.ready;
          },
          get bufferedBytes() {
            return session.bufferedBytes;
          },
          send: (request) => {
            if (!session.send(request)) return false;
            sent.set(request.id, this.send(node, request));
            return true;
          },
          cancel: (id) => session.cancel(id),
          credit: (id, replies) => session.credit(id, replies),
          close: () => session.close(),
        };
      },
    };
  }

  private listening(handlers: SessionHandlers, sent: ReadonlyMap<number, Send>): SessionHandlers {
    return {
      onWelcome: (welcome) => handlers.onWelcome(welcome),
      onReplies: (replies) => {
        for (const reply of replies) if (reply.end) this.answered(sent.get(reply.id)!, reply);
        handlers.onReplies(replies);
      },
      onGoaway: () => {
        this.world.count('router heard goaway');
        handlers.onGoaway();
      },
      onEnd: (error) => handlers.onEnd(error),
    };
  }

  private watched(connection: SessionConnection, open: Open): SessionConnection {
    return {
      get bufferedBytes() {
        return connection.bufferedBytes;
      },
      reply: (replies) => {
        for (const reply of replies) this.replied(open, reply);
        connection.reply(replies);
      },
      goaway: () => connection.goaway(),
      fail: (error) => connection.fail(error),
      close: () => connection.close(),
    };
  }

  private take(open: Open, client: string, request: Request): void {
    this.marks += 1;
    const name = `${client}'s ${request.operation} ${this.marks}`;
    const deadline = this.world.now + request.timeLeftMs;
    const { now } = this.world;
    const write = request.operation !== 'get';
    const taken: Taken = { name, write, at: now, of: sharedOf(request), deadline, sends: [] };
    request.traceParent = name;
    this.taken.set(name, taken);
    open.set(request.id, taken);
  }

  private send(node: string, request: Request): Send {
    const { router } = this;
    const world: World = this.world;
    const send = { node, answer: null, answeredAt: Number.POSITIVE_INFINITY };
    if ((request.sharedReads ?? 0) > 0) return this.sendShared(send, request);
    const taken = this.taken.get(request.traceParent);
    world.check(taken !== undefined, () => `${router} sends ${request.traceParent}, which has ended`);
    for (const earlier of taken.sends) {
      world.check(
        !taken.write || isHarmless(earlier),
        () => `invariant 11: ${router} sends ${node} ${taken.name}, which ${earlier.node} may have applied`,
      );
    }
    if (taken.sends.length > 0) world.count('router forwarded again');
    taken.sends.push(send);
    return send;
  }

  /** Goes for several, of whom some may have left; each of them must have come before it was sent. */
  private sendShared(send: Send, request: Request): Send {
    const { now } = this.world;
    const shared = Object.assign(send, { of: sharedOf(request), sentAt: now });
    this.shared = this.shared.filter(
      ({ answeredAt, sentAt }) => answeredAt >= now && now - sentAt < SHARED_MS,
    );
    this.shared.push(shared);
    this.world.count('router sent gets together');
    return shared;
  }

  private answered(send: Send, reply: Reply): void {
    send.answer = { ...reply };
    send.answeredAt = this.world.now;
  }

  private replied(open: Open, reply: Reply): void {
    const { router } = this;
    const world: World = this.world;
    const taken = open.get(reply.id);
    world.check(taken !== undefined, () => `${router} answers request ${reply.id}, which is not open`);
    if (!reply.end) return;
    open.delete(reply.id);
    this.taken.delete(taken.name);
    const { name } = taken;
    const together = this.shared.filter(
      ({ of, sentAt }) => !taken.write && of === taken.of && sentAt >= taken.at,
    );
    const sends = [...taken.sends, ...together];
    this.checkTime(taken);
    const { failure } = reply;
    if (failure == null) {
      const given = sends.some(
        ({ answer }) => answer?.result === reply.result && same(answer, reply, reply.result),
      );
      world.check(given, () => `${router} answers ${name} with what no node has said to it`);
      world.count('router passed an answer on');
      return;
    }
    if (failure.outcome === 'not_applied' && taken.write) {
      const doubtful = sends.find((send) => !isHarmless(send));
      world.check(
        doubtful === undefined,
        () =>
          `invariant 11: ${router} tells ${name} ${failure.code} not_applied, ${doubtful?.node} may have applied it`,
      );
    }
    const own = sends.every(({ answer }) => answer?.failure !== failure);
    if (own) world.count(`router said ${failure.code} ${failure.outcome}`);
  }

  private checkTime({ name, sends, deadline }: Taken): void {
    const world: World = this.world;
    const graceMs = (sends.at(-1)?.answeredAt ?? 0) > deadline ? GRACE_MS : 0;
    const late = world.now - deadline;
    // Virtual time adds up with rounding errors.
    world.check(late < graceMs + SWEEP_MS + 1, () => `${this.router} answers ${name} ${late} ms late`);
  }
}

function same(answer: Reply, reply: Reply, part: Reply['result']): boolean {
  return part === 'receipt' ? answer.receipt === reply.receipt : answer.value === reply.value;
}
