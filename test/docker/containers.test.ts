/**
 * The image of deploy/Dockerfile and the services of deploy/compose.yaml on a Docker network: what the containers are, and that
 * the cluster goes on while one of them is cut off, paused, killed or restarted under a load that is recorded and checked.
 * A write must come through within the time that a client waits for it; how fast is no matter here.
 */
import { fileURLToPath } from 'node:url';
import { getContainerRuntimeClient } from 'testcontainers';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import type { Topology } from '../../src/common/topology.ts';
import { ComposeCluster, type ComposeContainer } from '../support/compose.ts';
import { buildImage } from '../support/docker-image.ts';
import { REPEATS } from '../support/faults.ts';
import { keysOf, Load } from '../support/load.ts';
import { freePort, ledBy } from '../support/processes.ts';

const COMPOSE = fileURLToPath(new URL('../../deploy/compose.yaml', import.meta.url));
const IMAGE = 'ringkeep:test';
const NODES = ['n1', 'n2', 'n3'];
/** Liveness: writes to the partitions of a lost leader end well, and not after this. */
const WRITES_GO_ON_MS = 20_000;

const engine = inject('engine');
process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';
if (engine.missing === '') process.env.DOCKER_HOST = engine.host;
// Its ports are here, also where this is a container itself.
if (engine.host.startsWith('unix:')) process.env.TESTCONTAINERS_HOST_OVERRIDE = '127.0.0.1';

const title = `containers of deploy/compose.yaml${engine.missing === '' ? '' : ` (skipped: ${engine.missing})`}`;

describe.skipIf(engine.missing !== '')(title, () => {
  let cluster: ComposeCluster;
  let client: RingkeepClient;
  let load: Load;

  beforeAll(async () => {
    const { container } = await getContainerRuntimeClient();
    const began = performance.now();
    await buildImage(container.dockerode, IMAGE);
    const builtAt = performance.now();
    const port = await freePort(new Set());
    cluster = await ComposeCluster.start(COMPOSE, IMAGE, { RINGKEEP_PORT: `${port}` });
    const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
    const { Size } = await container.dockerode.getImage(IMAGE).inspect();
    console.log(
      `image of ${Math.round(Size / 1e6)} MB built in ${seconds(builtAt - began)}, ` +
        `all services healthy ${seconds(performance.now() - builtAt)} later`,
    );
    client = connect(`ringkeep://${cluster.address}`, { requestTimeoutMs: WRITES_GO_ON_MS });
  });

  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') await cluster.printLogs();
  });

  afterAll(async () => {
    await load?.stop();
    client?.destroy();
    await cluster?.stop();
  });

  /** The node that leads most partitions at present. */
  function foremost(topology: Topology): { victim: ComposeContainer; led: number[] } {
    const [most] = NODES.map((name) => ({ name, led: ledBy(topology, name) })).sort(
      (a, b) => b.led.length - a.led.length,
    );
    return { victim: cluster.container(most!.name), led: most!.led };
  }

  /** Writes to every one of the partitions; logs how long the slowest took. Rejects if one does not come through in time. */
  async function writeTo(partitions: readonly number[], count: number, what: string): Promise<void> {
    const began = performance.now();
    const keys = partitions.flatMap((partition) => keysOf(partition, count, 1, 'goes-on'));
    await Promise.all(keys.map((key) => client.put(key, what)));
    const took = Math.round(performance.now() - began);
    console.log(`${what}: ${keys.length} partitions that it led take writes within ${took} ms`);
  }

  it('forms a cluster whose health checks are content, and serves the published port', async () => {
    const { nodes } = await cluster.whenHealthy();
    expect(nodes.map(({ id, address }) => `${id} ${address}`).sort()).toEqual(
      NODES.map((name) => `${name} ${name}:7401`),
    );
    const { version } = await client.put('user:1', { name: 'Ada' });
    expect(await client.getEntry('user:1')).toMatchObject({ value: { name: 'Ada' }, version });
  });

  it('runs as a user of its own, with Node.js as process 1, and a health check without a shell', async () => {
    for (const { docker } of cluster.containers.values()) {
      const { Config, State } = await docker.inspect();
      expect(Config.User).toBe('10001:10001');
      expect(Config.Healthcheck?.Test?.slice(0, 2)).toEqual(['CMD', 'node']);
      expect(State.Running).toBe(true);
    }
    const script =
      "const { readFileSync, statSync, writeFileSync } = require('node:fs');" +
      'let wrote = true; try { writeFileSync("/opt/ringkeep/x", ""); } catch { wrote = false; }' +
      "const first = readFileSync('/proc/1/status', 'utf8');" +
      'console.log(JSON.stringify({ uid: /^Uid:\\s+(\\d+)/m.exec(first)[1], name: /^Name:\\s+(.*)$/m.exec(first)[1],' +
      " mode: (statSync('/var/lib/ringkeep').mode & 0o777).toString(8), wrote }));";
    const { status, output } = await cluster.container('n1').run('node', '-e', script);
    expect(status, output).toBe(0);
    expect(JSON.parse(output)).toEqual({ uid: '10001', name: 'node', mode: '750', wrote: false });
  });

  it('has the command line inside', async () => {
    const { status, output } = await cluster.container('router').run('ringkeep', 'status');
    expect(status, output).toBe(0);
    expect(output).toMatch(/n2 +n2:7401 .* up$/m);
  });

  describe('under load', () => {
    let partitions: number;

    beforeAll(async () => {
      ({ partitions } = await cluster.whenHealthy());
      load = new Load({
        ...{ url: `ringkeep://${cluster.address}`, partitions },
        ...{ writers: 4, readers: 2, keysPerLane: 1, sharedKeys: 4, paceMs: 150 },
      });
      await load.start();
    });

    it('goes on while a node is off the network, which comes back under its name', {
      repeats: REPEATS,
    }, async () => {
      const { victim, led } = foremost(await cluster.whenHealthy());
      await victim.disconnect();
      await writeTo(led, partitions, `${victim.name} off the network`);
      await victim.connect();
      await cluster.whenHealthy();
    });

    it('goes on while a node is paused', { repeats: REPEATS }, async () => {
      const { victim, led } = foremost(await cluster.whenHealthy());
      await victim.docker.pause();
      await writeTo(led, partitions, `${victim.name} paused`);
      await victim.docker.unpause();
      await cluster.whenHealthy();
    });

    it('goes on while a node is killed, which recovers from its volume', { repeats: REPEATS }, async () => {
      const { victim, led } = foremost(await cluster.whenHealthy());
      await victim.docker.kill();
      await writeTo(led, partitions, `${victim.name} killed`);
      await victim.docker.start();
      await cluster.whenHealthy();
      await victim.whenHealthy();
    });

    it('goes on while a node is stopped, which hands over and ends within the grace period', {
      repeats: REPEATS,
    }, async () => {
      const { victim, led } = foremost(await cluster.whenHealthy());
      const stopped = victim.stop();
      await writeTo(led, partitions, `${victim.name} stopped`);
      const { status, tookMs } = await stopped;
      console.log(`${victim.name} ended by itself in ${Math.round(tookMs)} ms`);
      expect(status).toBe(0);
      expect((await victim.logged()).map(({ event }) => event)).toContain('node_stopped');
      await victim.docker.start();
      await cluster.whenHealthy();
    });

    it('goes on after the router was restarted, and after it was killed', { repeats: REPEATS }, async () => {
      const router = cluster.container('router');
      const ended = async () =>
        (await router.logged()).filter(({ event }) => event === 'router_stopped').length;
      const before = await ended();
      const all = Array.from({ length: partitions }, (_, partition) => partition);
      await router.docker.restart();
      await writeTo(all, partitions, 'the router restarted');
      await router.docker.kill();
      await router.docker.start();
      await writeTo(all, partitions, 'the router killed');
      await cluster.whenHealthy();
      // The restart was an end in order, and the kill was none.
      expect(await ended()).toBe(before + 1);
    });

    it('has lost nothing and shown nothing that is not linearizable', async () => {
      await load.stop();
      await load.verify();
      console.log(load.summary());
      expect(load.breaches).toEqual([]);
      expect(load.writes).toBeGreaterThan(0);
    });
  });
});
