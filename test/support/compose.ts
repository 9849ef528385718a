/**
 * The services of deploy/compose.yaml in real containers, on a network of their own, by testcontainers; what cuts, pauses, kills
 * and restarts them; and what the cluster says of itself through the router's published port.
 * Every key that the file uses means here what it means to `docker compose`; one that is not known here is an error.
 * INVARIANT: containers, networks and volumes are gone after `stop`.
 */
import { readFileSync } from 'node:fs';
import {
  type ContainerRuntimeClient,
  GenericContainer,
  getContainerRuntimeClient,
  Network,
  type StartedNetwork,
  Wait,
} from 'testcontainers';
import { parse } from 'yaml';
import type { Topology } from '../../src/common/topology.ts';
import { grpcConnector } from '../../src/common/wire/connections.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import { eventually } from './processes.ts';

type Docker = ReturnType<ContainerRuntimeClient['container']['getById']>;

/** A service as the file has it. */
interface Service {
  readonly image: string;
  readonly build: unknown;
  readonly restart: string;
  readonly command: readonly string[];
  readonly stop_grace_period: string;
  readonly networks: readonly string[];
  readonly volumes: readonly string[];
  readonly ports?: readonly string[];
}

const KEYS = new Set([
  'image',
  'build',
  'restart',
  'command',
  'stop_grace_period',
  'networks',
  'volumes',
  'ports',
]);
const START_MS = 60_000;
const STATUS_MS = 2_000;
const LOG_LINES = 60;

/** Reads a compose file; `${NAME:-default}` is taken from `environment`. */
export function readCompose(
  path: string,
  environment: Readonly<Record<string, string>>,
): Map<string, Service> {
  const text = readFileSync(path, 'utf8').replace(
    /\$\{(\w+):-([^}]*)\}/g,
    (_, name: string, otherwise: string) => environment[name] ?? otherwise,
  );
  const { services } = parse(text, { merge: true }) as { services: Record<string, Service> };
  for (const [name, service] of Object.entries(services))
    for (const key of Object.keys(service))
      if (!KEYS.has(key)) throw new Error(`${path}: service ${name}: this test does not know "${key}"`);
  return new Map(Object.entries(services));
}

/** One service's container, as its file describes it. */
class ServiceContainer extends GenericContainer {
  constructor(name: string, service: Service, image: string, project: string, network: string) {
    super(image);
    const [seconds = ''] = /^\d+(?=s$)/.exec(service.stop_grace_period) ?? [];
    Object.assign(this.createOpts, {
      StopTimeout: Number(seconds),
      NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: [name] } } },
    });
    Object.assign(this.hostConfig, {
      RestartPolicy: { Name: service.restart },
      Binds: service.volumes.map((volume) => `${project}-${volume}`),
      PortBindings: Object.fromEntries(
        (service.ports ?? []).map((port) => {
          const [HostIp, HostPort, inside] = port.split(':');
          return [`${inside}/tcp`, [{ HostIp, HostPort }]];
        }),
      ),
    });
    this.withNetworkMode(network)
      .withCommand([...service.command])
      .withWaitStrategy(Wait.forHealthCheck())
      .withStartupTimeout(START_MS);
  }
}

/** A container that runs a service, and what can be done to it. */
export class ComposeContainer {
  readonly name: string;
  readonly docker: Docker;
  readonly #network: string;
  readonly #client: ContainerRuntimeClient;

  constructor(name: string, docker: Docker, network: string, client: ContainerRuntimeClient) {
    this.name = name;
    this.docker = docker;
    this.#network = network;
    this.#client = client;
  }

  /** Takes it off the network: what it sends, and is sent, goes nowhere. */
  async disconnect(): Promise<void> {
    await this.#client.network.getById(this.#network).disconnect({ Container: this.docker.id });
  }

  /** Puts it back, under its name; its address may be another one. */
  async connect(): Promise<void> {
    const EndpointConfig = { Aliases: [this.name] };
    await this.#client.network.getById(this.#network).connect({ Container: this.docker.id, EndpointConfig });
  }

  /** Stops it as `docker stop` does. Resolves with its exit status and the time that it took. */
  async stop(): Promise<{ status: number; tookMs: number }> {
    const began = performance.now();
    await this.docker.stop();
    const { State } = await this.docker.inspect();
    return { status: State.ExitCode, tookMs: performance.now() - began };
  }

  /** Runs a command inside. Resolves with its exit status and all that it printed. */
  async run(...command: string[]): Promise<{ status: number; output: string }> {
    const { exitCode, output } = await this.#client.container.exec(this.docker, command);
    return { status: exitCode, output };
  }

  async whenHealthy(): Promise<void> {
    await eventually(`health of ${this.name}`, async (missing) => {
      const { State } = await this.docker.inspect();
      return State.Health?.Status === 'healthy' ? true : missing(State.Health?.Status ?? State.Status);
    });
  }

  /** The log events of all its lives, oldest first. */
  async logged(): Promise<{ readonly event: string }[]> {
    return (await this.#lines()).filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  async logTail(): Promise<string> {
    return (await this.#lines()).slice(-LOG_LINES).join('\n');
  }

  async #lines(): Promise<string[]> {
    const bytes = await this.docker.logs({ stdout: true, stderr: true, follow: false });
    const lines: string[] = [];
    // Frames of 8 bytes, the last four of them the length, and as much text.
    for (let at = 0; at + 8 <= bytes.length; at += 8 + bytes.readUInt32BE(at + 4))
      lines.push(
        ...bytes
          .toString('utf8', at + 8, at + 8 + bytes.readUInt32BE(at + 4))
          .trimEnd()
          .split('\n'),
      );
    return lines;
  }
}

/** The services of a compose file, running. */
export class ComposeCluster {
  readonly containers = new Map<string, ComposeContainer>();
  /** Where the router's published port is. */
  readonly address: string;
  readonly #project = `ringkeep-test-${process.pid}-${Math.floor(Math.random() * 1e6)}`;
  readonly #services: Map<string, Service>;
  readonly #client: ContainerRuntimeClient;
  readonly #network: StartedNetwork;
  readonly #image: string;

  private constructor(
    services: Map<string, Service>,
    image: string,
    client: ContainerRuntimeClient,
    network: StartedNetwork,
  ) {
    this.#services = services;
    this.#image = image;
    this.#client = client;
    this.#network = network;
    const [ip, port] = services.get('router')?.ports?.[0]?.split(':') ?? [];
    this.address = `${ip}:${port}`;
  }

  /** Starts all services at once and waits until their health checks are content. */
  static async start(
    file: string,
    image: string,
    environment: Record<string, string>,
  ): Promise<ComposeCluster> {
    const services = readCompose(file, environment);
    const client = await getContainerRuntimeClient();
    const cluster = new ComposeCluster(services, image, client, await new Network().start());
    try {
      await Promise.all([...services].map(([name, service]) => cluster.#start(name, service)));
    } catch (error) {
      await cluster.printLogs();
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  async #start(name: string, service: Service): Promise<void> {
    const network = this.#network.getName();
    const container = new ServiceContainer(name, service, this.#image, this.#project, network);
    const id = this.#network.getId();
    container.withName(`${this.#project}-${name}`);
    const known = new ComposeContainer(
      name,
      this.#client.container.getById(`${this.#project}-${name}`),
      id,
      this.#client,
    );
    this.containers.set(name, known);
    await container.start();
  }

  container(name: string): ComposeContainer {
    const found = this.containers.get(name);
    if (found === undefined) throw new Error(`there is no service ${name}`);
    return found;
  }

  /** Resolves when every node is alive and every partition has an established leader and all of its voters. */
  whenHealthy(): Promise<Topology> {
    return eventually('a healthy cluster', async (missing) => {
      let topology: Topology | null;
      try {
        ({ topology } = await grpcConnector.adminStatus(
          this.address,
          makeHello({ role: 'client' }),
          STATUS_MS,
        ));
      } catch (error) {
        return missing(String(error));
      }
      if (topology === null || topology.partitions === 0) return missing('not formed');
      const dead = topology.nodes.filter(({ alive }) => !alive).map(({ id }) => id);
      if (dead.length > 0) return missing(`dead: ${dead.join(', ')}`);
      const open = topology.records.filter(
        ({ leader, established, voters, previousVoters, learners }) =>
          leader === null || !established || voters.length < 3 || previousVoters.length + learners.length > 0,
      );
      return open.length === 0 ? topology : missing(`${open.length} partitions are not served, or in change`);
    });
  }

  async printLogs(): Promise<void> {
    for (const container of this.containers.values())
      console.error(`--- ${container.name}\n${await container.logTail().catch(String)}`);
  }

  /** Removes everything, whatever state it is in. */
  async stop(): Promise<void> {
    const { dockerode } = this.#client.container;
    // Not there, or somebody else removes it just now: a container that did not become healthy is removed by its library.
    const gone = async (removal: Promise<unknown>): Promise<void> => {
      await removal.catch((error: { statusCode?: number }) => {
        if (error.statusCode !== 404 && error.statusCode !== 409) throw error;
      });
    };
    await Promise.all(
      [...this.containers.values()].map(({ docker }) => gone(docker.remove({ force: true, v: true }))),
    );
    const volumes = [...this.#services.values()].flatMap(({ volumes }) => volumes);
    for (const volume of volumes)
      await gone(dockerode.getVolume(`${this.#project}-${volume.split(':')[0]}`).remove());
    await this.#network.stop();
  }
}
