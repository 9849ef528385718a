/**
 * Ringkeep as any gRPC client in any language sees it: the schema file, unary calls, statuses with the failure in the
 * trailer, the standard health and reflection services. Nothing of src/ is used here.
 */
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Client,
  type ClientDuplexStream,
  credentials,
  loadPackageDefinition,
  type Metadata,
  type ServiceError,
  status as Status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { expect, it } from 'vitest';
import { eventually, type ProcessCluster, startCluster } from '../support/processes.ts';

const SCHEMA = fileURLToPath(new URL('../../proto/ringkeep.proto', import.meta.url));
const require = createRequire(import.meta.url);
const packageOf = (name: string): string => dirname(require.resolve(`${name}/package.json`));
const HEALTH = join(packageOf('grpc-health-check'), 'proto/health/v1/health.proto');
const REFLECTION = join(packageOf('@grpc/reflection'), 'build/proto/grpc/reflection/v1/reflection.proto');

type Answer = Record<string, unknown>;
type Method = (
  request: object,
  options: { deadline: number },
  done: (error: ServiceError | null, answer?: Answer) => void,
) => void;
type Stub = Client & Record<string, Method>;
type Reflection = Client & { ServerReflectionInfo(): ClientDuplexStream<object, Answer> };

function stub<T extends Client = Stub>(schema: string, path: string, address: string): T {
  let found: unknown = loadPackageDefinition(
    loadSync(schema, { longs: Number, enums: String, defaults: true }),
  );
  for (const name of path.split('.')) found = (found as Record<string, unknown>)[name];
  const Service = found as new (target: string, how: unknown) => T;
  return new Service(address, credentials.createInsecure());
}

function call(client: Stub, method: string, request: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    client[method]!.call(client, request, { deadline: Date.now() + 20_000 }, (error, answer = {}) =>
      error === null ? resolve(answer) : reject(error),
    );
  });
}

/** Code of the status, and the Failure of the trailer decoded by the schema alone. */
async function failureOf(promise: Promise<Answer>): Promise<Answer & { status: Status }> {
  const error = await promise.then(
    () => expect.fail('it was taken'),
    (reason: unknown) => reason as ServiceError & { metadata: Metadata },
  );
  const [trailer] = error.metadata.get('ringkeep-failure-bin');
  const failure = loadSync(SCHEMA, { longs: Number, defaults: true })['ringkeep.v1.Failure'] as unknown as {
    deserialize?: (bytes: Buffer) => Answer;
  };
  const decoded = Buffer.isBuffer(trailer) ? failure.deserialize?.(trailer) : undefined;
  expect(decoded, error.message).toBeDefined();
  expect(error.details).toMatch(new RegExp(`^${decoded?.code}: `));
  return { ...decoded, status: error.code };
}

async function leaderAddress(cluster: ProcessCluster): Promise<string> {
  const topology = await cluster.topology();
  return cluster.node(topology.records[0]!.leader!.node).address;
}

async function putGetDelete(address: string): Promise<void> {
  const client = stub(SCHEMA, 'ringkeep.v1.KeyValue', address);
  const key = Buffer.from(`from ${address}`);
  const put = { request: { key, put: { value: Buffer.from('hello'), codec: 3 } } };
  const receipt = await call(client, 'Put', put);
  expect(receipt).toMatchObject({ durability: 'quorum', partition: 0, duplicate: false });
  expect(receipt.version).toBeGreaterThan(0);
  expect(await call(client, 'Get', { request: { key } })).toMatchObject({
    ...{ found: true, value: Buffer.from('hello'), codec: 3, version: receipt.version },
  });
  const deleted = await call(client, 'Delete', { request: { key, ack: 'ACK_ALL' } });
  expect(deleted).toMatchObject({ durability: 'all' });
  expect(deleted.version).toBeGreaterThan(receipt.version as number);
  expect(await call(client, 'Get', { request: { key } })).toMatchObject({ found: false });

  const counter = Buffer.from(`count ${address}`);
  expect(
    await call(client, 'Increment', { request: { key: counter, increment: { delta: 40 } } }),
  ).toMatchObject({
    counter: 40,
  });
  const conditional = { key: counter, condition: { kind: 'CONDITION_ABSENT' } };
  expect(await call(client, 'Delete', { request: conditional })).toMatchObject({ conditionFailed: true });
  expect(await call(client, 'Get', { request: { key: counter } })).toMatchObject({
    ...{ found: true, value: Buffer.from('40'), codec: 5 },
  });

  const items = [
    { key: counter, increment: { delta: 2 } },
    { key, put: { value: Buffer.from('{tag}'), codec: 3 } },
  ];
  const apart = { key, batch: { items } };
  expect(await failureOf(call(client, 'Batch', { request: apart }))).toMatchObject({
    ...{ status: Status.INVALID_ARGUMENT, code: 'CROSS_PARTITION', outcome: 'not_applied' },
  });
  const batch = { key: counter, batch: { items: [items[0]] }, idempotencyKey: Buffer.from('once') };
  const counted = { items: [{ conditionFailed: false, counter: 42 }] };
  expect(await call(client, 'Batch', { request: batch })).toMatchObject({ ...counted, repeated: false });
  expect(await call(client, 'Batch', { request: batch })).toMatchObject({ ...counted, repeated: true });

  const large = { key, put: { value: Buffer.alloc(1024 * 1024 + 1), codec: 4 } };
  expect(await failureOf(call(client, 'Put', { request: large }))).toMatchObject({
    ...{ status: Status.INVALID_ARGUMENT, code: 'VALUE_TOO_LARGE', outcome: 'not_applied' },
  });
  expect(await failureOf(call(client, 'Get', { request: { key: Buffer.alloc(0) } }))).toMatchObject({
    ...{ status: Status.INVALID_ARGUMENT, code: 'KEY_TOO_LARGE', outcome: 'not_applied' },
  });
  expect(await failureOf(call(client, 'Put', {}))).toMatchObject({
    ...{ status: Status.INVALID_ARGUMENT, code: 'INVALID_ARGUMENT', outcome: 'not_applied' },
  });
  const hello = { protocolMin: 1, protocolMax: 1, role: 'client', clusterId: 'another' };
  expect(await failureOf(call(client, 'Get', { hello, request: { key } }))).toMatchObject({
    ...{ status: Status.FAILED_PRECONDITION, code: 'WRONG_CLUSTER', outcome: 'not_applied' },
  });
  client.close();
}

async function describeItself(address: string): Promise<void> {
  const health = stub(HEALTH, 'grpc.health.v1.Health', address);
  expect(await call(health, 'Check', { service: '' })).toEqual({ status: 'SERVING' });
  health.close();
  const client = stub<Reflection>(REFLECTION, 'grpc.reflection.v1.ServerReflection', address);
  const stream = client.ServerReflectionInfo();
  stream.write({ listServices: '' });
  const [answer] = (await once(stream, 'data')) as [
    { listServicesResponse: { service: { name: string }[] } },
  ];
  const names = answer.listServicesResponse.service.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(['ringkeep.v1.KeyValue', 'ringkeep.v1.TopologyService']));
  const ended = once(stream, 'status');
  stream.resume().end();
  expect(await ended).toMatchObject([{ code: Status.OK }]);
  client.close();
}

it('a router and a leading node serve any gRPC client', async () => {
  const cluster = await startCluster({ partitions: 1 });
  for (const address of [cluster.router.address, await leaderAddress(cluster)]) {
    await putGetDelete(address);
    await describeItself(address);
  }
});

it('a node that does not lead names the leader in the trailer', async () => {
  const cluster = await startCluster({ partitions: 1 });
  const { records } = await cluster.topology();
  const leader = records[0]!.leader!.node;
  const other = cluster.nodes.find(({ name }) => name !== leader)!;
  const client = stub(SCHEMA, 'ringkeep.v1.KeyValue', other.address);
  await eventually('the refusal', async (missing) => {
    const failure = await failureOf(call(client, 'Get', { request: { key: Buffer.from('k') } }));
    expect(failure).toMatchObject({ status: Status.FAILED_PRECONDITION, code: 'NOT_LEADER' });
    return failure.leader === leader ? true : missing(`names "${failure.leader}"`);
  });
  client.close();
});
