/**
 * Three members of etcd with their defaults, loaded by h2load at their leader: one key, gRPC over HTTP/2 without TLS. h2load
 * sees the HTTP status only, which is 200 for every answer of gRPC; so what it counts is held against what the
 * cluster says it has done: its revision for writes, its count of answered calls for reads.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RingkeepError } from '#src/common/errors.ts';
import { PUT_PATH, putBody, RANGE_PATH, rangeBody } from './etcd-requests.ts';
import { figuresOfLog, parseLog } from './h2load-log.ts';
import { type Figures, type Measurement, VALUE_BYTES } from './measurements.ts';
import { freePorts } from './processes.ts';
import { type Host, type RunningSystem, type SystemUnderTest, versionOf, waitFor } from './system.ts';

const MEMBERS = 3;
const REQUEST_MS = 5_000;
/** Streams of one connection in a closed loop. */
const STREAMS_MAX = 32;
const OPEN_CONNECTIONS = 8;
const KEY = Buffer.from('compare');
const VALUE = Buffer.alloc(VALUE_BYTES, 'v');

interface MemberStatus {
  readonly header: { readonly member_id: string; readonly revision: string };
  readonly leader?: string;
}

async function post<T>(url: string, path: string, body: object): Promise<T> {
  const signal = AbortSignal.timeout(REQUEST_MS);
  const reply = await fetch(`${url}${path}`, { method: 'POST', body: JSON.stringify(body), signal });
  if (!reply.ok) throw new RingkeepError('UNAVAILABLE', `${url}${path}: HTTP status ${reply.status}`);
  return (await reply.json()) as T;
}

function statusOf(url: string): Promise<MemberStatus> {
  return post(url, '/v3/maintenance/status', {});
}

/** Resolves with the URL of the leader when all members know the same one, and null before. */
async function findLeader(urls: readonly string[]): Promise<string | null> {
  const members = await Promise.all(urls.map(statusOf));
  const leader = members[0]?.leader ?? '0';
  if (leader === '0' || members.some((member) => member.leader !== leader)) return null;
  return urls[members.findIndex(({ header }) => header.member_id === leader)] ?? null;
}

/** Returns connections and streams of each, whose product is what may be in flight, and requests per connection and second. */
export function h2loadShape({ inFlight, rate }: Measurement): {
  readonly connections: number;
  readonly streams: number;
  readonly rate: number | null;
} {
  if (rate !== null) {
    const connections = OPEN_CONNECTIONS;
    return { connections, streams: Math.ceil(inFlight / connections), rate: rate / connections };
  }
  const streams = Math.min(STREAMS_MAX, inFlight);
  return { connections: Math.ceil(inFlight / streams), streams, rate: null };
}

class Etcd implements RunningSystem {
  readonly #host: Host;
  readonly #leader: string;

  constructor(host: Host, leader: string) {
    this.#host = host;
    this.#leader = leader;
  }

  /** Writes the key and reads it back. */
  async load(): Promise<void> {
    const key = KEY.toString('base64');
    await post(this.#leader, '/v3/kv/put', { key, value: VALUE.toString('base64') });
    type Range = { readonly kvs?: readonly { readonly value: string }[] };
    const { kvs = [] } = await post<Range>(this.#leader, '/v3/kv/range', { key });
    if (kvs[0]?.value !== VALUE.toString('base64')) {
      throw new RingkeepError('INTERNAL', 'etcd does not have the value that was written');
    }
  }

  async measure(measurement: Measurement): Promise<Figures> {
    const { directory, pace, processes, stopped } = this.#host;
    const isPut = measurement.operation === 'put';
    const file = (name: string) => join(directory, `${measurement.name}.${name}`);
    writeFileSync(file('body'), isPut ? putBody(KEY, VALUE) : rangeBody(KEY));
    const { connections, streams, rate } = h2loadShape(measurement);
    const [warmUpMs, durationMs] = [pace.warmUpSeconds * 1_000, pace.seconds * 1_000];
    const before = await this.#done(isPut);
    await processes.runTool(
      'h2load',
      [
        ...['-c', `${connections}`, '-m', `${streams}`, '-D', `${warmUpMs + durationMs}ms`],
        ...(rate === null ? [] : ['--rps', `${rate}`]),
        ...['-H', 'content-type: application/grpc', '-H', 'te: trailers'],
        ...['-d', file('body'), '--log-file', file('log')],
        `${this.#leader}${isPut ? PUT_PATH : RANGE_PATH}`,
      ],
      stopped,
    );
    processes.checkServers();
    const confirmed = (await this.#done(isPut)) - before;
    const requests = parseLog(readFileSync(file('log'), 'utf8'));
    for (const name of ['log', 'body']) rmSync(file(name));
    return figuresOfLog(requests, { warmUpMs, durationMs, confirmed });
  }

  stop(): Promise<void> {
    return this.#host.processes.stopServers();
  }

  /** Resolves with the number of writes that the cluster has done, or of reads that its leader has answered. */
  async #done(isPut: boolean): Promise<number> {
    if (isPut) return Number((await statusOf(this.#leader)).header.revision);
    const signal = AbortSignal.timeout(REQUEST_MS);
    const metrics = await (await fetch(`${this.#leader}/metrics`, { signal })).text();
    return answeredReads(metrics);
  }
}

/** Returns how many reads a member has answered without an error, from its metrics. @throws RingkeepError INTERNAL */
export function answeredReads(metrics: string): number {
  const line = /^grpc_server_handled_total\{grpc_code="OK",grpc_method="Range",[^}]*\} (\S+)$/m.exec(metrics);
  if (line === null) throw new RingkeepError('INTERNAL', 'etcd has no metric of answered reads');
  return Number(line[1]);
}

async function start(host: Host): Promise<RunningSystem> {
  const ports = await freePorts(2 * MEMBERS);
  const members = Array.from({ length: MEMBERS }, (_, at) => ({
    name: `etcd-${at + 1}`,
    client: `http://127.0.0.1:${ports[2 * at]}`,
    peer: `http://127.0.0.1:${ports[2 * at + 1]}`,
  }));
  const cluster = members.map(({ name, peer }) => `${name}=${peer}`).join(',');
  for (const { name, client, peer } of members) {
    const args = [
      ...['--name', name, '--data-dir', join(host.directory, name)],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--initial-cluster', cluster, '--initial-cluster-state', 'new'],
      ...['--logger', 'zap', '--log-level', 'error'],
    ];
    host.processes.startServer(name, 'etcd', args, host.directory);
  }
  const urls = members.map(({ client }) => client);
  const etcd = new Etcd(host, await waitFor('the leader of etcd', host, () => findLeader(urls)));
  await etcd.load();
  return etcd;
}

/** etcd, loaded by h2load. */
export const etcdSystem: SystemUnderTest = {
  name: 'etcd',
  programs: ['etcd', 'h2load'],
  install: 'apt-get install etcd-server nghttp2-client (Debian, Ubuntu), brew install etcd nghttp2 (macOS)',
  setting: `${MEMBERS} members with default settings; one key; h2load at the leader`,
  versions: () => ({
    etcd: versionOf('etcd', /etcd Version: (\S+)/),
    h2load: versionOf('h2load', /nghttp2\/(\S+)/),
  }),
  start,
};
