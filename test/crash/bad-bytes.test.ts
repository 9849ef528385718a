/**
 * Every port of a router and a node against bytes that make no sense: each connection or call ends with an error, the
 * process lives on under the same pid, and what was stored is untouched.
 */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import { hotCodecs, methods } from '../../src/common/wire/schema.ts';
import {
  BrokenClient,
  grpcFrame,
  grpcMessages,
  type StreamResult,
  sendTcp,
  sendTcpAndReset,
} from '../support/garbage.ts';
import { type ProcessCluster, startCluster } from '../support/processes.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = Buffer.from('000000040000000000', 'hex');
const PATHS = Object.values(methods).map(({ path }) => path);
/** A gRPC status: OK would mean that nonsense was taken for a request. */
const OK = '0';

/** What is sent to a bare port. */
const TCP: Readonly<Record<string, Uint8Array>> = {
  nothing: Buffer.alloc(0),
  'random bytes': randomBytes(64 * 1024),
  'HTTP/1.1': Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
  'a TLS hello': Buffer.concat([Buffer.from('160301020001000' + '1fc0303', 'hex'), randomBytes(508)]),
  'half a preface': PREFACE.subarray(0, 11),
  'a preface and random frames': Buffer.concat([PREFACE, SETTINGS, randomBytes(16 * 1024)]),
  'a frame longer than allowed': Buffer.concat([PREFACE, SETTINGS, Buffer.from('ffffff000000000001', 'hex')]),
  'headers that do not decompress': Buffer.concat([
    ...[PREFACE, SETTINGS, Buffer.from('000010010500000001', 'hex'), Buffer.alloc(16, 0xff)],
  ]),
  'data on a stream that is not open': Buffer.concat([
    ...[PREFACE, SETTINGS, Buffer.from('000004000100000007', 'hex'), Buffer.alloc(4)],
  ]),
};

/** A well-formed first message, to be broken. */
const HELLO = hotCodecs.clientMessage.serialize({
  hello: makeHello({ role: 'client', clientId: Buffer.alloc(16, 1) }),
  requests: [],
  cancels: [],
  credits: [],
});

const NO_BODY = Buffer.alloc(0);

/** Bodies of calls. */
const BODIES: Readonly<Record<string, Uint8Array>> = {
  'no message': NO_BODY,
  'half a frame head': Buffer.from([0, 0, 0]),
  'a message that is cut off': grpcFrame(HELLO.subarray(0, HELLO.length - 3)),
  'a length beyond the body': grpcFrame(HELLO, 0, HELLO.length + 100),
  'a length of 4 GiB': grpcFrame(HELLO, 0, 0xffff_ffff),
  'a message that says it is compressed': grpcFrame(randomBytes(64), 1),
  'an unknown flag': grpcFrame(randomBytes(64), 7),
  'random bytes in a frame': grpcFrame(randomBytes(4_096)),
  'random bytes': randomBytes(4_096),
  'endless varints': grpcFrame(Buffer.alloc(4_096, 0xff)),
  'groups that nest': grpcFrame(Buffer.alloc(64 * 1024, 0x0b)),
};

/**
 * The code that a stream's last message carries: refused streams end with a Failure and then in good order. Empty for a
 * call that was not refused.
 */
function failureIn({ body }: StreamResult, path: string): string {
  const method = Object.values(methods).find((known) => known.path === path);
  const last = grpcMessages(body).at(-1);
  if (method === undefined || last === undefined) return '';
  const message = method.responseDeserialize(last);
  return 'failure' in message ? (message.failure?.code ?? '') : '';
}

/** Whether a call ended with an error: of HTTP, of gRPC, or as a Failure in its last message. */
function refused(result: StreamResult, path: string): boolean {
  const { grpcStatus, httpStatus, rstCode } = result;
  if (grpcStatus === null ? rstCode !== 0 || httpStatus !== 200 : grpcStatus !== OK) return true;
  return failureIn(result, path) !== '';
}

async function breakServer(address: string): Promise<void> {
  for (const bytes of Object.values(TCP)) {
    await sendTcp(address, bytes);
    await sendTcpAndReset(address, bytes);
  }
  const client = new BrokenClient(address);
  const taken: string[] = [];
  for (const path of [...PATHS, '/ringkeep.v1.KeyValue/Frobnicate', '/x', '/']) {
    for (const [name, body] of Object.entries(BODIES)) {
      if (!refused(await client.call(path, body), path)) taken.push(`${path}: ${name}`);
    }
  }
  for (const headers of [
    { 'content-type': 'text/html' },
    { 'grpc-encoding': 'gzip' },
    { 'grpc-encoding': 'nonsense' },
    { 'grpc-timeout': 'soon' },
    { ':method': 'GET' },
  ]) {
    const path = methods.session.path;
    // A GET has no body; grpc-js does not look at the method.
    const hello = grpcFrame(HELLO, 'grpc-encoding' in headers ? 1 : 0);
    const body = ':method' in headers ? NO_BODY : hello;
    if (!refused(await client.call(path, body, headers), path)) taken.push(JSON.stringify(headers));
  }
  expect(taken).toEqual([]);
  client.close();
}

async function expectAlive(cluster: ProcessCluster, pids: readonly number[]): Promise<void> {
  expect(cluster.processes.map(({ pid }) => pid)).toEqual(pids);
  for (const process of cluster.processes) {
    await cluster.status(process);
    for (const event of ['bug', 'node_failed', 'router_failed']) {
      expect(await process.logged(event), `${event} in the log of ${process.name}`).toEqual([]);
    }
  }
}

it('nonsense on any port ends its connection or call, and nothing else', async () => {
  const cluster = await startCluster({ partitions: 4 });
  const client = connect(cluster.url);
  try {
    const keys = Array.from({ length: 40 }, (_, n) => `key-${n}`);
    await Promise.all(keys.map((key) => client.put(key, key)));
    const pids = cluster.processes.map(({ pid }) => pid);
    const [node] = cluster.nodes;
    await Promise.all([breakServer(cluster.router.address), breakServer(node!.address)]);
    await expectAlive(cluster, pids);
    expect(await client.getMany(keys)).toEqual(keys);
    let rows = 0;
    for (let partition = 0; partition < 4; partition += 1) {
      for await (const page of client.scan({ partition })) rows += page.rows.length;
    }
    expect(rows).toBe(keys.length);
  } finally {
    client.destroy();
  }
});
