/** What the tests of src/common/wire share: identities, echoing services, waiting for a condition with a deadline. */
import type { RingkeepError } from '../../src/common/errors.ts';
import { grpcConnector } from '../../src/common/wire/connections.ts';
import type {
  KeyValueHandler,
  Peer,
  ServerIdentity,
  Services,
  Session,
  SessionConnection,
  SessionSink,
} from '../../src/common/wire/contract.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import type { Credit, Hello, Reply, Request, Welcome } from '../../src/common/wire/messages.ts';
import { createServer, type StreamLimits, type WireServer } from '../../src/common/wire/server.ts';

const EMPTY = new Uint8Array(0);

export const IDENTITY: ServerIdentity = {
  clusterId: 'cluster-1',
  role: 'node',
  nodeId: 'node-1',
  boot: 7,
  partitions: 48,
  keyBytesMax: 4096,
  valueBytesMax: 1024 * 1024,
};

/** Waits until `condition` holds; fails with `what` after the deadline. */
export async function until(condition: () => boolean, what: string, deadlineMs = 10_000): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${deadlineMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export function putRequest(id: number, value: Uint8Array = Buffer.from(`value-${id}`)): Request {
  return {
    id,
    timeLeftMs: 10_000,
    keyspace: 'default',
    key: Buffer.from(`key-${id}`),
    clientId: EMPTY,
    sequence: id,
    lowWater: 1,
    sessionTime: 1_700_000_000_000,
    attempt: 1,
    ack: 'ACK_QUORUM',
    traceParent: '',
    operation: 'put',
    put: { value, codec: 1, ttlMs: 0 },
  };
}

export function receiptReply(request: Request): Reply {
  return {
    id: request.id,
    end: true,
    result: 'receipt',
    receipt: {
      partition: 1,
      epoch: 2,
      version: request.sequence,
      durability: 'quorum',
      logTime: 1_700_000_000_000,
      duplicate: false,
      counter: 0,
      conditionFailed: false,
      index: 1,
      items: [],
      repeated: false,
    },
  };
}

export function valueReply(id: number, value: Uint8Array): Reply {
  return {
    id,
    end: true,
    result: 'value',
    value: {
      found: true,
      value,
      codec: 0,
      version: 1,
      epoch: 1,
      partition: 1,
      expiresAt: 0,
      seenIndex: 1,
      stalenessMs: 0,
    },
  };
}

/** A session as the server's handler saw it, with everything that it got. */
export class SeenSession implements SessionSink {
  readonly peer: Peer;
  readonly connection: SessionConnection;
  readonly requests: Request[] = [];
  readonly batches: number[] = [];
  readonly cancels: number[] = [];
  readonly credits: Credit[] = [];
  ends = 0;
  readonly #answer: ((request: Request) => Reply | undefined) | undefined;

  constructor(peer: Peer, connection: SessionConnection, answer?: (request: Request) => Reply | undefined) {
    this.peer = peer;
    this.connection = connection;
    this.#answer = answer;
  }

  onRequests(requests: Request[]): void {
    this.requests.push(...requests);
    this.batches.push(requests.length);
    const replies: Reply[] = [];
    for (const request of requests) {
      const reply = this.#answer?.(request);
      if (reply !== undefined) replies.push(reply);
    }
    if (replies.length > 0) this.connection.reply(replies);
  }

  onCancels(ids: number[]): void {
    this.cancels.push(...ids);
  }

  onCredits(credits: Credit[]): void {
    this.credits.push(...credits);
  }

  onEnd(): void {
    this.ends += 1;
  }
}

/** A KeyValue handler that records its sessions; without `answer` it leaves requests open. */
export function recorder(
  answer?: (request: Request) => Reply | undefined,
): KeyValueHandler & { sessions: SeenSession[] } {
  const sessions: SeenSession[] = [];
  return {
    sessions,
    onSession: (peer, connection) => {
      const session = new SeenSession(peer, connection, answer);
      sessions.push(session);
      return session;
    },
  };
}

/** A session as its client saw it. */
export interface SeenClient {
  session: Session;
  welcome: Welcome | undefined;
  replies: Map<number, Reply>;
  messages: number;
  goaways: number;
  ends: RingkeepError[];
}

export function openClient(
  address: string,
  hello: Partial<Hello> = {},
  options: { connectTimeoutMs?: number; sendBytesMax?: number } = {},
): SeenClient {
  const seen: Omit<SeenClient, 'session'> = {
    welcome: undefined,
    replies: new Map(),
    messages: 0,
    goaways: 0,
    ends: [],
  };
  const client = seen as SeenClient;
  client.session = grpcConnector.openSession(
    address,
    makeHello({ role: 'client', ...hello }),
    {
      onWelcome: (welcome) => {
        client.welcome = welcome;
      },
      onReplies: (replies) => {
        client.messages += 1;
        for (const reply of replies) client.replies.set(reply.id, reply);
      },
      onGoaway: () => {
        client.goaways += 1;
      },
      onEnd: (error) => client.ends.push(error),
    },
    options,
  );
  return client;
}

/** Listens on a free loopback port. */
export function listen(
  services: Services,
  options: { limits?: Partial<StreamLimits>; listen?: string; identity?: Partial<ServerIdentity> } = {},
): Promise<WireServer> {
  return createServer({
    listen: options.listen ?? '127.0.0.1:0',
    insecure: false,
    identity: () => ({ ...IDENTITY, ...options.identity }),
    services,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
}
