/**
 * A simulated router: the production proxy between simulated sessions, in the process of a controller, which gives it the
 * topology. It can crash by itself, and it ends with its controller.
 * INVARIANT: nothing of a life that is over has an effect: no timer, no session, no topology.
 */
import { RingkeepError } from '../../src/common/errors.ts';
import { KEY_BYTES_MAX } from '../../src/common/limits.ts';
import { silentLog } from '../../src/common/log.ts';
import type { Topology } from '../../src/common/topology.ts';
import type { KeyValueHandler, ServerIdentity } from '../../src/common/wire/contract.ts';
import { RequestProxy } from '../../src/router/proxy.ts';
import type { ProxyLimits } from '../../src/router/proxy-options.ts';
import { RouterChecks } from './router-checks.ts';
import { simClock } from './sim-clock.ts';
import type { Housemate, SimController } from './sim-controller.ts';
import type { SessionServer, SimSessions } from './sim-sessions.ts';
import type { World } from './world.ts';

/** What a router works with. */
export interface RouterSurroundings {
  readonly world: World;
  readonly sessions: SimSessions;
  readonly limits: Partial<ProxyLimits>;
  readonly inFlightMax: number;
}

export class SimRouter implements SessionServer, Housemate {
  readonly id: string;
  readonly paused = false;
  readonly inFlightMax: number;
  /** Takes no new sessions, and waits for open requests to end. */
  stopping = false;
  private readonly around: RouterSurroundings;
  private readonly controller: SimController;
  private life = 0;
  private proxy: RequestProxy | null = null;
  private checks: RouterChecks | null = null;
  private serving: KeyValueHandler | null = null;
  private topology: Topology | null = null;

  constructor(id: string, controller: SimController, around: RouterSurroundings) {
    this.id = id;
    this.controller = controller;
    this.around = around;
    this.inFlightMax = around.inFlightMax;
  }

  get running(): boolean {
    return this.proxy !== null;
  }

  readonly handler: KeyValueHandler = {
    onSession: (peer, connection) => {
      if (this.stopping) throw new RingkeepError('SHUTTING_DOWN', 'the process is stopping');
      return this.serving!.onSession(peer, connection);
    },
  };

  /** Starts the process, if its controller is there to tell it where everything is. */
  start(): void {
    if (this.running || !this.controller.listening) return;
    const { world, sessions, limits } = this.around;
    world.trace(`${this.id}: starts`);
    this.life += 1;
    this.stopping = false;
    this.topology = null;
    const { life } = this;
    const checks = new RouterChecks(world, this.id);
    const proxy = new RequestProxy({
      connector: checks.connector(sessions.connector(this.id)),
      addressOf: (node) => node.id,
      unavailable: () => this.controller.unavailable(),
      waitingFor: () => 'the cluster to be formed',
      log: silentLog,
      limits,
      clock: simClock(world, this.id, () => life === this.life),
    });
    this.checks = checks;
    this.proxy = proxy;
    let held = 0;
    this.serving = checks.handler(proxy, () => {
      const now = proxy.stats().held;
      if (now > held) world.count('router held');
      held = now;
    });
    const known = this.controller.topology();
    if (known !== null) this.topologyPushed(known);
  }

  /** Kills the process. */
  crash(): void {
    if (!this.running) return;
    this.around.world.trace(`${this.id}: crashes`);
    this.life += 1;
    this.proxy = null;
    this.checks = null;
    this.serving = null;
    this.around.sessions.stopped(this.id);
  }

  /** Ends the process as production does: no new requests, those that are open get some time, then all are answered. */
  stop(graceMs: number): void {
    if (!this.running || this.stopping) return;
    const { world, sessions } = this.around;
    world.trace(`${this.id}: stops`);
    this.stopping = true;
    sessions.goaway(this.id);
    const clock = simClock(world, this.id, this.aliveNow());
    const deadline = world.now + graceMs;
    const poll = (): void => {
      const { proxy } = this;
      if (proxy !== null && proxy.stats().requests > 0 && world.now < deadline) {
        clock.after(20, poll);
        return;
      }
      proxy?.stop();
      clock.after(5, () => this.crash());
    };
    clock.after(20, poll);
  }

  /** The controller's change; the first one that a life hears of is the whole topology. */
  topologyPushed(change: Topology): void {
    if (this.proxy === null) return;
    const told = this.topology === null ? this.controller.topology() : change;
    if (told === null) return;
    this.topology ??= told;
    this.proxy.applyTopology(told);
  }

  identity(): ServerIdentity {
    return {
      clusterId: this.topology?.clusterId ?? '',
      role: 'router',
      nodeId: this.id,
      boot: 0,
      partitions: this.topology?.partitions ?? 0,
      keyBytesMax: KEY_BYTES_MAX,
      valueBytesMax: this.proxy?.valueBytesMax ?? 0,
    };
  }

  /** Nothing is open: no request waits for a reply, and none counts against the bounds any more. */
  get idle(): boolean {
    if (this.proxy === null || this.checks === null) return true;
    const { requests, requestBytes, held } = this.proxy.stats();
    return requests === 0 && requestBytes === 0 && held === 0 && this.checks.open === 0;
  }

  /** What it holds, for failure messages. */
  describe(): string {
    return `${this.id}: ${JSON.stringify(this.proxy?.stats() ?? 'down')}, ${this.checks?.open ?? 0} to be answered`;
  }

  private aliveNow(): () => boolean {
    const { life } = this;
    return () => life === this.life;
  }
}
