/**
 * A primary of Redis with two replicas, all of which sync their append-only file before they answer. SET and GET by
 * redis-benchmark, which are for information (no replica has a SET when it is answered), and SET with WAIT 1, which comes
 * nearest to a write to a quorum.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { RingkeepError } from '#src/common/errors.ts';
import { type Figures, type Measurement, VALUE_BYTES } from './measurements.ts';
import { freePorts } from './processes.ts';
import { parseBenchmarkCsv } from './redis-benchmark.ts';
import { loadRecords, measureSetWait, RedisConnection } from './redis-client.ts';
import { areReplicasOnline } from './resp.ts';
import { type Host, type RunningSystem, type SystemUnderTest, versionOf, waitFor } from './system.ts';

const REPLICAS = 2;
/** redis-benchmark runs by count: how many it takes to find out how many are so many seconds. */
const TRIAL_OPERATIONS = 5_000;
const OPERATIONS_MIN = 1_000;

class Redis implements RunningSystem {
  readonly #host: Host;
  readonly #port: number;

  constructor(host: Host, port: number) {
    this.#host = host;
    this.#port = port;
  }

  async measure(measurement: Measurement): Promise<Figures> {
    const { pace, seed, stopped, processes } = this.#host;
    processes.checkServers();
    if (measurement.name === 'set_wait_256') {
      return measureSetWait(this.#port, {
        connections: measurement.inFlight,
        records: pace.records,
        warmUpMs: pace.warmUpSeconds * 1_000,
        durationMs: pace.seconds * 1_000,
        ...{ seed, stopped },
      });
    }
    const test = measurement.operation === 'put' ? 'SET' : 'GET';
    // By count only, so each run says how many operations the next one takes: a trial, the warm-up, the measured one.
    const trial = await this.#benchmark(test, measurement.inFlight, TRIAL_OPERATIONS);
    const warmUp = await this.#benchmark(test, measurement.inFlight, trial.throughput * pace.warmUpSeconds);
    return this.#benchmark(test, measurement.inFlight, warmUp.throughput * pace.seconds);
  }

  stop(): Promise<void> {
    return this.#host.processes.stopServers();
  }

  async #benchmark(test: 'SET' | 'GET', inFlight: number, wanted: number): Promise<Figures> {
    const { pace, processes, stopped } = this.#host;
    const operations = Math.max(OPERATIONS_MIN, Math.round(wanted));
    const args = [
      ...['-h', '127.0.0.1', '-p', `${this.#port}`, '-t', test.toLowerCase(), '-n', `${operations}`],
      ...['-c', `${inFlight}`, '-P', '1', '-r', `${pace.records}`, '-d', `${VALUE_BYTES}`, '--csv'],
    ];
    return parseBenchmarkCsv(await processes.runTool('redis-benchmark', args, stopped), test, operations);
  }
}

/** Resolves when both replicas are in sync, and all have all records. */
async function load(host: Host, ports: readonly number[]): Promise<void> {
  const open = (port: number) => waitFor('a connection to Redis', host, () => RedisConnection.open(port));
  const connections = await Promise.all(ports.map(open));
  const [primary] = connections;
  if (primary === undefined) throw new RingkeepError('INTERNAL', 'there is no primary');
  try {
    await waitFor('two replicas of Redis', host, async () => {
      const info = await primary.command('INFO', 'replication');
      return typeof info === 'string' && areReplicasOnline(info, REPLICAS) ? info : null;
    });
    await loadRecords(primary, host.pace.records);
    await waitFor('all records on all replicas', host, async () => {
      const sizes = await Promise.all(connections.map((connection) => connection.command('DBSIZE')));
      return sizes.every((size) => size === host.pace.records) ? sizes : null;
    });
  } finally {
    for (const connection of connections) connection.close();
  }
}

async function start(host: Host): Promise<RunningSystem> {
  const ports = await freePorts(1 + REPLICAS);
  for (const [at, port] of ports.entries()) {
    const name = at === 0 ? 'redis-primary' : `redis-replica-${at}`;
    const directory = join(host.directory, name);
    mkdirSync(directory);
    const args = [
      ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory, '--save', ''],
      ...['--appendonly', 'yes', '--appendfsync', 'always'],
      // So that replicas need not wait for one another at the start.
      ...['--repl-diskless-sync-delay', '0'],
      ...(at === 0 ? [] : ['--replicaof', '127.0.0.1', `${ports[0]}`]),
    ];
    host.processes.startServer(name, 'redis-server', args, directory);
  }
  await load(host, ports);
  return new Redis(host, ports[0]!);
}

/** Redis, loaded by redis-benchmark and by a raw client. */
export const redisSystem: SystemUnderTest = {
  name: 'redis',
  programs: ['redis-server', 'redis-benchmark'],
  install: 'apt-get install redis-server redis-tools (Debian, Ubuntu), brew install redis (macOS)',
  setting: `a primary and ${REPLICAS} replicas, appendonly yes, appendfsync always, no snapshots`,
  versions: () => ({
    'redis-server': versionOf('redis-server', /v=(\S+)/),
    'redis-benchmark': versionOf('redis-benchmark', /redis-benchmark (\S+)/),
  }),
  start,
};
