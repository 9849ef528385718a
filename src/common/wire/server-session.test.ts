import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import {
  IDENTITY,
  listen,
  openClient,
  putRequest,
  receiptReply,
  recorder,
  type SeenClient,
  until,
  valueReply,
} from '../../../test/support/wire.ts';
import { RingkeepError } from '../errors.ts';
import type { KeyValueHandler } from './contract.ts';
import type { Hello } from './messages.ts';
import type { StreamLimits, WireServer } from './server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(
  keyValue: KeyValueHandler,
  options: { limits?: Partial<StreamLimits>; listen?: string } = {},
): Promise<WireServer> {
  const server = await listen({ keyValue }, options);
  cleanups.push(() => server.stop(0));
  return server;
}

function connect(server: WireServer, hello: Partial<Hello> = {}, sendBytesMax?: number): SeenClient {
  const client = openClient(server.address, hello, sendBytesMax === undefined ? {} : { sendBytesMax });
  cleanups.push(() => client.session.close());
  return client;
}

describe('Session', () => {
  it('carries thousands of requests, many per message, each answered once', async () => {
    const handler = recorder(receiptReply);
    const server = await serve(handler);
    const clientId = randomBytes(16);
    const client = connect(server, { clientId });
    for (let id = 1; id <= 2000; id += 1) expect(client.session.send(putRequest(id))).toBe(true);
    await until(() => client.replies.size === 2000, 'all replies');
    const seen = handler.sessions[0];
    expect(client.welcome).toMatchObject({ nodeId: 'node-1', boot: 7, partitions: 48, maxInFlight: 2048 });
    expect(Buffer.from(seen?.peer.hello.clientId ?? []).equals(clientId)).toBe(true);
    expect(seen?.requests.map((request) => request.id)).toEqual(
      Array.from({ length: 2000 }, (_, index) => index + 1),
    );
    expect(seen?.batches.length).toBeLessThan(20);
    expect(client.messages).toBeLessThan(100);
    expect(client.replies.get(1234)?.receipt?.version).toBe(1234);
  });

  it('passes cancels and credits of open requests, and many replies to one request', async () => {
    const handler = recorder();
    const server = await serve(handler);
    const client = connect(server);
    client.session.send(putRequest(1));
    await until(() => handler.sessions[0]?.requests.length === 1, 'the request');
    const seen = handler.sessions[0]!;
    client.session.credit(1, 3);
    client.session.credit(99, 3);
    client.session.cancel(1);
    client.session.cancel(98);
    await until(() => seen.credits.length === 1 && seen.cancels.length === 1, 'credit and cancel');
    expect(seen.credits[0]).toEqual({ id: 1, replies: 3 });
    const rows = (cursor: string, end: boolean) => ({
      id: 1,
      end,
      result: 'rows' as const,
      rows: { rows: [], cursor: Buffer.from(cursor) },
    });
    seen.connection.reply([rows('a', false), rows('b', true), rows('c', true)]);
    await until(() => client.replies.get(1)?.end === true, 'the end mark');
    expect(String(client.replies.get(1)?.rows?.cursor)).toBe('b');
  });

  it('tells its end once to both sides', async () => {
    const handler = recorder();
    const server = await serve(handler);
    const client = connect(server);
    await until(() => client.session.ready, 'the welcome');
    client.session.close();
    client.session.close();
    expect(client.ends).toHaveLength(0);
    await until(() => client.ends.length === 1 && handler.sessions[0]?.ends === 1, 'both ends');
    expect(client.ends[0]?.code).toBe('CLOSED');
    expect(client.session.send(putRequest(1))).toBe(false);
    await until(() => server.stats().streams === 0, 'the slot to be free');
    expect(server.stats().sessions).toBe(0);
  });

  it.each<[string, Partial<Hello>, string]>([
    ['another protocol', { protocolMin: 7, protocolMax: 9 }, 'VERSION_MISMATCH'],
    ['no protocol', { protocolMin: 0 }, 'INVALID_ARGUMENT'],
    ['another cluster', { clusterId: 'cluster-2' }, 'WRONG_CLUSTER'],
    ['another node', { expectedNode: 'node-2' }, 'WRONG_NODE'],
    ['an unknown role', { role: 'operator' as 'client' }, 'INVALID_ARGUMENT'],
    ['a node without id', { role: 'node' }, 'INVALID_ARGUMENT'],
    ['a short client id', { clientId: randomBytes(15) }, 'INVALID_ARGUMENT'],
  ])(
    'refuses a hello with %s before the handler sees it, and nothing was sent',
    async (_name, hello, code) => {
      const handler = recorder(receiptReply);
      const server = await serve(handler);
      const client = connect(server, hello);
      client.session.send(putRequest(1));
      await until(() => client.ends.length === 1, 'the refusal');
      expect(client.ends[0]).toMatchObject({ code, outcome: 'not_applied' });
      expect(handler.sessions).toHaveLength(0);
      expect(client.welcome).toBeUndefined();
    },
  );

  it('accepts a hello that names the right cluster and node', async () => {
    const server = await serve(recorder(receiptReply));
    const client = connect(server, { clusterId: IDENTITY.clusterId, expectedNode: 'node-1' });
    await until(() => client.session.ready, 'the welcome');
  });

  it("hands the handler's refusal and its later failure to the client", async () => {
    const refusing = await serve({
      onSession: () => {
        throw new RingkeepError('NOT_READY', 'no cluster yet', 'not_applied', { retryAfterMs: 250 });
      },
    });
    const refused = connect(refusing);
    await until(() => refused.ends.length === 1, 'the refusal');
    expect(refused.ends[0]).toMatchObject({ code: 'NOT_READY', retryAfterMs: 250 });

    const handler = recorder();
    const failing = await serve(handler);
    const client = connect(failing);
    client.session.send(putRequest(1));
    await until(() => handler.sessions[0]?.requests.length === 1, 'the request');
    const { connection, requests } = handler.sessions[0]!;
    connection.reply([receiptReply(requests[0]!)]);
    connection.goaway();
    connection.fail(new RingkeepError('SHUTTING_DOWN', 'bye', 'unknown'));
    await until(() => client.ends.length === 1, 'the failure');
    expect(client.ends[0]).toMatchObject({ code: 'SHUTTING_DOWN', outcome: 'unknown' });
    expect(client.replies.size).toBe(1);
    expect(client.goaways).toBe(1);
  });

  it('ends a session whose request id is still open, or that says hello twice', async () => {
    const handler = recorder();
    const server = await serve(handler);
    const client = connect(server);
    client.session.send(putRequest(5));
    client.session.send(putRequest(5));
    await until(() => client.ends.length === 1, 'the end');
    expect(client.ends[0]?.code).toBe('INVALID_ARGUMENT');
    await until(() => handler.sessions[0]?.ends === 1, "the handler's end");
  });

  it('ends a stream that says no hello in time', async () => {
    const server = await serve(recorder(), { limits: { helloTimeoutMs: 30 } });
    const { Channel } = await import('./channel.ts');
    const { methods } = await import('./schema.ts');
    const channel = new Channel(server.address);
    cleanups.push(() => channel.close());
    let code: string | undefined;
    channel.openStream(methods.session, {
      onMessage: (message) => {
        code = message.failure?.code;
      },
      onEnd: () => {},
    });
    await until(() => code !== undefined, 'the failure');
    expect(code).toBe('DEADLINE_EXCEEDED');
  });

  it('takes no more streams than it has slots, and frees them', async () => {
    const server = await serve(recorder(), { limits: { streamsMax: 1 } });
    const first = connect(server);
    await until(() => first.session.ready, 'the first');
    const second = connect(server);
    await until(() => second.ends.length === 1, 'the refusal');
    expect(second.ends[0]?.code).toBe('OVERLOADED');
    expect(second.ends[0]?.retryAfterMs).toBeGreaterThan(0);
    first.session.close();
    await until(() => server.stats().streams === 0, 'the free slot');
    const third = connect(server);
    await until(() => third.session.ready, 'the third');
  });
});

describe('flow control of a session', () => {
  it('hands over at most twice the credit and refuses the rest of the message with OVERLOADED', async () => {
    const handler = recorder();
    const server = await serve(handler, { limits: { inFlightMax: 10 } });
    const client = connect(server);
    await until(() => client.session.ready, 'the welcome');
    expect(client.welcome?.maxInFlight).toBe(10);
    for (let id = 1; id <= 50; id += 1) client.session.send(putRequest(id));
    await until(() => client.replies.size === 30, 'the refusals');
    expect(handler.sessions[0]?.requests).toHaveLength(20);
    for (let id = 21; id <= 50; id += 1) {
      expect(client.replies.get(id)?.failure).toMatchObject({ code: 'OVERLOADED', outcome: 'not_applied' });
      expect(client.replies.get(id)?.failure?.retryAfterMs).toBeGreaterThan(0);
    }
  });

  it('stops reading beyond the credit and reads on when requests are answered', async () => {
    const handler = recorder();
    const server = await serve(handler, { limits: { inFlightMax: 10 } });
    const client = connect(server);
    await until(() => client.session.ready, 'the welcome');
    let id = 0;
    const sendOne = async (): Promise<void> => {
      id += 1;
      client.session.send(putRequest(id));
      await new Promise((resolve) => setImmediate(resolve));
    };
    for (let count = 0; count < 40; count += 1) await sendOne();
    const seen = handler.sessions[0]!;
    await until(() => seen.requests.length > 10, 'the credit to be used up');
    // The gate may let a message or two through that was asked for already, never twice the credit.
    expect(seen.requests.length).toBeLessThan(20);
    expect(client.replies.size).toBe(0);
    let answered = 0;
    await until(() => {
      const open = seen.requests.slice(answered);
      answered += open.length;
      seen.connection.reply(open.map(receiptReply));
      return client.replies.size === 40;
    }, 'everything to be answered');
    expect([...client.replies.values()].every((reply) => reply.receipt)).toBe(true);
  });

  it('bounds the memory of a client that does not read', async () => {
    const value = randomBytes(64 * 1024);
    const handler = recorder((request) => valueReply(request.id, value));
    const replyBytesMax = 256 * 1024;
    const server = await serve(handler, { limits: { inFlightMax: 64, replyBytesMax } });
    const slow = await openStalledSession(server.address);
    cleanups.push(() => slow.destroy());
    slow.sendRequests(1, 4000);
    await until(() => server.stats().replyBytes > replyBytesMax, 'replies to pile up');
    // Everything is answered at once here, so what is buffered is what the bound lets through.
    let most = 0;
    let settled = 0;
    let before = -1;
    await until(() => {
      const { replyBytes } = server.stats();
      most = Math.max(most, replyBytes);
      settled = handler.sessions[0]?.requests.length === before ? settled + 1 : 0;
      before = handler.sessions[0]?.requests.length ?? 0;
      return settled > 50;
    }, 'the server to stop reading');
    expect(before).toBeLessThan(4000);
    // Four times the bound, one more value, and the small refusals of the last message.
    expect(most).toBeLessThan(4 * replyBytesMax + value.length + 4096 * 200);
    slow.destroy();
    await until(
      () => server.stats().replyBytes === 0 && handler.sessions[0]?.ends === 1,
      'everything to be freed',
    );
  });

  it('answers a reply that fits into no message with MESSAGE_TOO_LARGE, and goes on', async () => {
    const huge = Buffer.alloc(17 * 1024 * 1024);
    const server = await serve(
      recorder((request) => (request.id === 1 ? valueReply(1, huge) : receiptReply(request))),
    );
    const client = connect(server);
    client.session.send(putRequest(1));
    client.session.send(putRequest(2));
    await until(() => client.replies.size === 2, 'both replies');
    expect(client.replies.get(1)).toMatchObject({ end: true, failure: { code: 'MESSAGE_TOO_LARGE' } });
    expect(client.replies.get(2)?.receipt).toBeTruthy();
    expect(client.ends).toHaveLength(0);
  });

  it('refuses to queue more than the client may hold unsent', async () => {
    const server = await serve(recorder());
    const client = connect(server, {}, 10_000);
    let sent = 0;
    for (let id = 1; id <= 1000; id += 1) if (client.session.send(putRequest(id))) sent += 1;
    expect(sent).toBeGreaterThan(10);
    expect(sent).toBeLessThan(100);
    expect(client.session.bufferedBytes).toBeLessThanOrEqual(10_000);
    expect(() => client.session.send(putRequest(1, Buffer.alloc(17 * 1024 * 1024)))).toThrow(
      'MESSAGE_TOO_LARGE',
    );
  });
});

/** A client on bare HTTP/2 that sends requests and never reads a reply. */
async function openStalledSession(address: string) {
  const { connect: connectHttp2 } = await import('node:http2');
  const { methods } = await import('./schema.ts');
  const { makeHello } = await import('./handshake.ts');
  const session = connectHttp2(`http://${address}`, { settings: { initialWindowSize: 128 * 1024 } });
  session.on('error', () => {});
  const stream = session.request({
    ':method': 'POST',
    ':path': methods.session.path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  stream.pause();
  const frame = (body: Buffer): Buffer => {
    const head = Buffer.alloc(5);
    head.writeUInt32BE(body.length, 1);
    return Buffer.concat([head, body]);
  };
  const none = { requests: [], cancels: [], credits: [] };
  stream.write(frame(methods.session.requestSerialize({ hello: makeHello({ role: 'client' }), ...none })));
  return {
    sendRequests: (from: number, count: number): void => {
      for (let id = from; id < from + count; id += 1) {
        stream.write(
          frame(methods.session.requestSerialize({ ...none, hello: null, requests: [putRequest(id)] })),
        );
      }
    },
    destroy: (): void => session.destroy(),
  };
}
