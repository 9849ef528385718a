import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { createServer as createTcp } from 'node:net';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { afterEach, describe, expect, it } from 'vitest';
import { listen, openClient, putRequest, receiptReply, recorder, until } from '../../../test/support/wire.ts';
import type { Services } from './contract.ts';
import { makeHello } from './handshake.ts';
import { methods } from './schema.ts';
import type { WireServer } from './server.ts';
import { createServer } from './server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
function stopLater(server: WireServer): WireServer {
  cleanups.push(() => server.stop(0));
  return server;
}

const NO_MOVES = {
  ...{ state: 'none', reason: '', moves: [], stuck: [] },
  ...{ settings: null, replicationFactor: 3, choices: [], bytesPerSecond: 0, plan: '', overfull: [] },
};

const EVERYTHING: Services = {
  keyValue: recorder(receiptReply),
  topology: { onWatch: () => ({ onEnd: () => {} }) },
  control: { onAttach: () => ({ onMessage: () => {}, onEnd: () => {} }) },
  replication: { onSubscribe: () => ({ onEnd: () => {} }) },
  admin: {
    status: async () => ({ topology: null, nodes: [], replicas: [], json: '' }),
    hashPartition: async () => ({ replica: '', appliedIndex: 0, hash: '', rows: 0 }),
    setAck: async () => ({ cluster: 'ACK_QUORUM', keyspaces: [] }),
    moves: async () => NO_MOVES,
    hot: async () => ({ seconds: 0, reads: 0, writes: 0, keys: [], partitions: [], nodes: [], salts: [] }),
    scrub: async () => ({ run: 1, partitions: [] }),
  },
};

/** Posts bytes on a raw stream, half-closes, and tells the gRPC status that comes back, or the Failure before it. */
function post(session: ClientHttp2Session, path: string, body: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let status = '';
    const note = (headers: Record<string, unknown>): void => {
      if (headers['grpc-status'] !== undefined) status = String(headers['grpc-status']);
    };
    stream.on('response', note);
    stream.on('trailers', note);
    stream.on('error', () => {});
    let reply = '';
    stream.on('data', (chunk: Buffer) => {
      reply += chunk.toString('latin1');
    });
    stream.on('close', () => resolve(reply.includes('INVALID_ARGUMENT') ? 'INVALID_ARGUMENT' : status));
    stream.end(body);
  });
}

function frame(body: Buffer, length = body.length, compressed = 0): Buffer {
  const head = Buffer.from([compressed, 0, 0, 0, 0]);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

const GARBAGE: [string, Buffer][] = [
  ['random bytes', frame(Buffer.from('deadbeefcafebabe0badf00d', 'hex'))],
  ['a length beyond the end', frame(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f, 1, 2]))],
  ['an endless varint', frame(Buffer.alloc(64, 0xff))],
  ['a truncated frame', frame(Buffer.from([0x0a, 0x02, 0x08, 0x01]), 4000)],
  ['half a frame header', Buffer.from([0, 0, 0])],
  ['a frame that claims 2 GiB', frame(Buffer.alloc(10), 0x7fffffff)],
  ['bytes that claim to be compressed', frame(Buffer.from('not gzip'), 8, 1)],
  ['groups without an end', frame(Buffer.alloc(5000, 0x0b))],
  ['a bad UTF-8 string', frame(Buffer.from([0x0a, 0x06, 0x1a, 0x04, 0xff, 0xfe, 0xc0, 0x80]))],
  ['nothing at all', Buffer.alloc(0)],
];

describe('broken bytes', () => {
  const paths = Object.values(methods).map((method) => method.path);

  it.each(GARBAGE)('%s end every method with an error and leave the server serving', async (_name, bytes) => {
    const server = stopLater(await listen(EVERYTHING));
    const session = connectHttp2(`http://${server.address}`);
    cleanups.push(() => session.destroy());
    session.on('error', () => {});
    for (const path of paths) {
      const status = await post(session, path, bytes);
      // A stream that ends before its first message ends in good order; everything else is an error.
      const empty =
        bytes.length < 5 || (bytes.readUInt32BE(1) > bytes.length && bytes.readUInt32BE(1) < 2 ** 24);
      if (!(empty && (path === methods.session.path || path === methods.attach.path))) {
        expect(status, path).not.toBe('0');
      }
    }
    await until(() => server.stats().streams === 0 && server.stats().unary === 0, 'all slots to be free');
    const client = openClient(server.address);
    cleanups.push(() => client.session.close());
    client.session.send(putRequest(1));
    await until(() => client.replies.size === 1, 'an answer');
  });

  it('a message longer than the limit ends its call only', async () => {
    const server = stopLater(await listen(EVERYTHING));
    const session = connectHttp2(`http://${server.address}`);
    cleanups.push(() => session.destroy());
    session.on('error', () => {});
    const status = await post(session, methods.session.path, frame(Buffer.alloc(100), 17 * 1024 * 1024));
    expect(status).toBe('8');
    const hello = { hello: makeHello({ role: 'client' }), requests: [], cancels: [], credits: [] };
    const second = await post(session, methods.session.path, frame(methods.session.requestSerialize(hello)));
    expect(second).toBe('0');
  });

  it('an unknown method and another content type are refused', async () => {
    const server = stopLater(await listen(EVERYTHING));
    const session = connectHttp2(`http://${server.address}`);
    cleanups.push(() => session.destroy());
    expect(await post(session, '/ringkeep.v1.KeyValue/Nothing', frame(Buffer.alloc(0)))).toBe('12');
  });

  it('bytes that are no HTTP/2 at all are survived', async () => {
    const { connect } = await import('node:net');
    const server = stopLater(await listen(EVERYTHING));
    const socket = connect(Number(server.address.split(':')[1]), '127.0.0.1');
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.resume();
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await closed;
    const client = openClient(server.address);
    cleanups.push(() => client.session.close());
    await until(() => client.session.ready, 'the welcome');
  });
});

describe('listening', () => {
  it('tells ADDRESS_IN_USE', async () => {
    const server = stopLater(await listen({}));
    await expect(listen({}, { listen: server.address })).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    const other = createTcp();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => other.close());
    const taken = other.address() as { port: number };
    await expect(listen({}, { listen: `127.0.0.1:${taken.port}` })).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
    });
  });

  it('tells INVALID_ARGUMENT for an address that is not ours, and INSECURE_LISTEN for the world', async () => {
    await expect(listen({}, { listen: 'nonsense' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(listen({}, { listen: '0.0.0.0:0' })).rejects.toMatchObject({ code: 'INSECURE_LISTEN' });
    const elsewhere = { listen: '192.0.2.1:7', insecure: true, identity: () => ({}) as never, services: {} };
    await expect(createServer(elsewhere)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it.each(['[::1]:0', 'localhost:0'])('serves on %s and stops', async (address) => {
    const server = stopLater(await listen(EVERYTHING, { listen: address }));
    expect(server.address).toMatch(/:[1-9]\d*$/);
    const client = openClient(server.address);
    cleanups.push(() => client.session.close());
    client.session.send(putRequest(1));
    await until(() => client.replies.size === 1, 'an answer');
  });
});

describe('a client without a server', () => {
  it('ends with UNAVAILABLE, not_applied, when nobody listens', async () => {
    const client = openClient('127.0.0.1:1');
    client.session.send(putRequest(1));
    await until(() => client.ends.length === 1, 'the end');
    expect(client.ends[0]).toMatchObject({ code: 'UNAVAILABLE', outcome: 'not_applied' });
  });

  it('ends with UNAVAILABLE when the other side accepts and says nothing', async () => {
    const mute = createTcp();
    const sockets = new Set<{ destroy(): void }>();
    mute.on('connection', (socket) => sockets.add(socket.on('error', () => {})));
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      mute.close();
    });
    const client = openClient(
      `127.0.0.1:${(mute.address() as { port: number }).port}`,
      {},
      { connectTimeoutMs: 100 },
    );
    await until(() => client.ends.length === 1, 'the end');
    expect(client.ends[0]).toMatchObject({ code: 'UNAVAILABLE', outcome: 'not_applied' });
  });

  it('ends with INVALID_ARGUMENT for a malformed address, and VERSION_MISMATCH without the service', async () => {
    const malformed = openClient('nowhere');
    const server = stopLater(await listen({}));
    const foreign = openClient(server.address);
    await until(() => malformed.ends.length + foreign.ends.length === 2, 'both ends');
    expect(malformed.ends[0]?.code).toBe('INVALID_ARGUMENT');
    expect(foreign.ends[0]?.code).toBe('VERSION_MISMATCH');
  });
});

describe('stop', () => {
  it('answers what is open, tells clients to go, refuses new ones, and ends', async () => {
    const handler = recorder();
    const server = stopLater(await listen({ keyValue: handler }));
    const client = openClient(server.address);
    cleanups.push(() => client.session.close());
    client.session.send(putRequest(1));
    await until(() => handler.sessions[0]?.requests.length === 1, 'the request');
    const stopped = server.stop(10_000);
    await until(() => client.goaways === 1, 'goaway');
    const late = openClient(server.address);
    await until(() => late.ends.length === 1, 'the refusal');
    expect(late.ends[0]).toMatchObject({ code: 'SHUTTING_DOWN', outcome: 'not_applied' });
    const { connection, requests } = handler.sessions[0]!;
    connection.reply([receiptReply(requests[0]!)]);
    await stopped;
    await until(() => client.ends.length === 1, 'the end');
    expect(client.replies.get(1)?.receipt).toBeTruthy();
    expect(client.ends[0]).toMatchObject({ code: 'SHUTTING_DOWN', outcome: 'unknown' });
    expect(handler.sessions[0]?.ends).toBe(1);
    expect(server.stats()).toEqual({ streams: 0, sessions: 0, unary: 0, replyBytes: 0 });
  });

  it('ends within its grace though a request is never answered and a client stays', async () => {
    const handler = recorder();
    const server = await listen({ ...EVERYTHING, keyValue: handler });
    const client = openClient(server.address);
    cleanups.push(() => client.session.close());
    client.session.send(putRequest(1));
    await until(() => handler.sessions[0]?.requests.length === 1, 'the request');
    const raw = connectHttp2(`http://${server.address}`);
    cleanups.push(() => raw.destroy());
    raw.on('error', () => {});
    const idle = raw.request({
      ':method': 'POST',
      ':path': methods.session.path,
      'content-type': 'application/grpc',
    });
    idle.on('error', () => {});
    await until(() => server.stats().streams === 2, 'both streams');
    await Promise.all([server.stop(50), server.stop(50)]);
    await until(() => client.ends.length === 1 && handler.sessions[0]?.ends === 1, 'both ends');
    expect(client.replies.size).toBe(0);
    const again = openClient(server.address);
    await until(() => again.ends.length === 1, 'nobody to listen');
    expect(again.ends[0]?.code).toBe('UNAVAILABLE');
  });
});

describe('health and reflection', () => {
  const check = healthService.Check ?? healthService.check;
  function ask(address: string): Promise<unknown> {
    const client = new Client(`dns:${address}`, credentials.createInsecure());
    cleanups.push(() => client.close());
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        check!.path,
        check!.requestSerialize,
        check!.responseDeserialize,
        { service: '' },
        new Metadata(),
        {},
        (error, response) => (error === null ? resolve(response) : reject(error)),
      );
    });
  }

  it('says whether it serves', async () => {
    const server = stopLater(await listen({}));
    expect(await ask(server.address)).toMatchObject({ status: 'NOT_SERVING' });
    server.setServing(true);
    expect(await ask(server.address)).toMatchObject({ status: 'SERVING' });
    server.setServing(false);
    expect(await ask(server.address)).toMatchObject({ status: 'NOT_SERVING' });
  });

  it('names its services to those who ask', async () => {
    const server = stopLater(await listen(EVERYTHING));
    const session = connectHttp2(`http://${server.address}`);
    cleanups.push(() => session.destroy());
    const stream = session.request({
      ':method': 'POST',
      ':path': '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    // list_services = 7, any string
    stream.write(frame(Buffer.from([0x3a, 0x01, 0x2a])));
    await until(() => Buffer.concat(chunks).includes('ringkeep.v1.KeyValue'), 'the list of services');
  });
});
