/**
 * Nodes that come and go while everything works: one joins and leaves, one is replaced by another, one is lost for good. The cluster
 * moves the replicas by itself. Some kill the source, the target or the controller of moves at each of their steps; whatever else is on
 * beside them hits these at any time.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../../common/errors.ts';
import type { PartitionRecord } from '../../common/topology.ts';
import type { Move } from '../../common/wire/admin-messages.ts';
import { grpcConnector } from '../../common/wire/connections.ts';
import { makeHello } from '../../common/wire/handshake.ts';
import { reconnecting } from '../../common/wire/reconnecting.ts';
import type { ProcessCluster } from '../cluster.ts';
import { type ActiveFault, ANYWHERE, type FaultDriver, pickNode } from '../fault.ts';
import { type ClusterProcess, eventually } from '../process.ts';

/** Moves have so long beside other faults, ms. */
const MOVED_MS = 60_000;
/** A lost node is replaced after that, s; the least that may be set. */
const LOST_AFTER_S = 5;
const LOST_AFTER_DEFAULT_S = 300;
/** A step of a move is waited for so long, looked for so often, and its victim is away for so long, ms. */
const STEP_WAIT_MS = 10_000;
const LOOK_MS = 20;
const DOWN_MS = 300;

async function votesOf(cluster: ProcessCluster, { name }: ClusterProcess): Promise<number> {
  const { records } = await cluster.topology();
  return records.filter(({ voters }) => voters.some(({ node }) => node === name)).length;
}

/** Repeats what the router may be away for. */
function asked(what: string, ask: () => Promise<unknown>): Promise<true> {
  return eventually(
    what,
    async (missing) => {
      try {
        await ask();
        return true;
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        return missing(error.message);
      }
    },
    MOVED_MS,
  );
}

function membership(cluster: ProcessCluster, { name }: ClusterProcess, leaves: boolean): Promise<true> {
  const next = leaves ? 'NODE_LEAVING' : 'NODE_MEMBER';
  return asked(`${name} as ${next}`, () =>
    cluster.moves({ order: 'MOVES_MEMBERSHIP', node: name, membership: next }),
  );
}

/** Starts a node that is not there, as a member: it may have left before. */
async function joined(cluster: ProcessCluster): Promise<ClusterProcess> {
  const node = await cluster.join();
  await membership(cluster, node, false);
  return node;
}

function voting(
  cluster: ProcessCluster,
  node: ClusterProcess,
  wanted: (votes: number) => boolean,
): Promise<number> {
  return eventually(
    `replicas of ${node.name}`,
    async (missing) => {
      const votes = await votesOf(cluster, node).catch(() => null);
      return votes !== null && wanted(votes) ? votes : missing(`it has ${votes}`);
    },
    MOVED_MS,
  );
}

/** Lets a node give everything away, and ends it; one that cannot, beside other faults, stays. */
async function retired(cluster: ProcessCluster, node: ClusterProcess): Promise<void> {
  if (!cluster.nodes.includes(node)) return;
  try {
    await membership(cluster, node, true);
    await voting(cluster, node, (votes) => votes === 0);
    await cluster.retire(node);
  } catch (error) {
    if (!(error instanceof RingkeepError)) throw error;
    await membership(cluster, node, false).catch(() => {});
  }
}

/** Something under way, which has to be over before it can be undone. */
function active(target: string, lane: Promise<string>, undo: () => Promise<void>): ActiveFault {
  lane.catch(() => {});
  let undone: Promise<void> | null = null;
  return {
    target,
    cutOff: [],
    confirmed: lane,
    undo: () => {
      undone ??= lane.then(undo, undo);
      return undone;
    },
  };
}

const join: FaultDriver = {
  kind: 'join',
  family: 'members',
  group: 'members',
  planned: true,
  text: 'a node joins and gets its share of the replicas; then it gives them away again and leaves',
  missing: ANYWHERE,
  inject: async ({ cluster }) => {
    const node = await joined(cluster);
    const lane = voting(cluster, node, (votes) => votes > 0).then(
      (votes) => `${node.name} votes on ${votes} partitions`,
    );
    return active(node.name, lane, () => retired(cluster, node));
  },
};

const replace: FaultDriver = {
  kind: 'replace',
  family: 'members',
  group: 'members',
  planned: true,
  text: 'a node joins, and another one gives all of its replicas away and leaves for good',
  missing: ANYWHERE,
  inject: async (context) => {
    const { cluster } = context;
    const victim = await pickNode(context);
    const node = await joined(cluster);
    const lane = (async () => {
      await membership(cluster, victim, true);
      await voting(cluster, victim, (votes) => votes === 0);
      return `${victim.name} has no replicas any more, ${node.name} has ${await votesOf(cluster, node)}`;
    })();
    return active(`${victim.name} by ${node.name}`, lane, () => retired(cluster, victim));
  },
};

const lose: FaultDriver = {
  kind: 'lose',
  family: 'members',
  group: 'members',
  destroys: true,
  text: `a node joins, another one is killed, and its replicas are made anew elsewhere after ${LOST_AFTER_S} s; its directory is emptied`,
  missing: ANYWHERE,
  inject: async (context) => {
    const { cluster } = context;
    const victim = await pickNode(context);
    const node = await joined(cluster);
    const settings = async (lostAfterSeconds: number): Promise<void> => {
      await asked('settings of moves', () =>
        cluster.moves({ order: 'MOVES_CONFIGURE', settings: { lostAfterSeconds } }),
      );
    };
    await settings(LOST_AFTER_S);
    await victim.kill('SIGKILL');
    await victim.wipe();
    const lane = voting(cluster, victim, (votes) => votes === 0).then(
      () => `others have all replicas of ${victim.name}, which is away`,
    );
    return active(victim.name, lane, async () => {
      await settings(LOST_AFTER_DEFAULT_S);
      if (!victim.running) await victim.start();
      await voting(cluster, victim, (votes) => votes > 0).catch(() => 0);
      await retired(cluster, node);
    });
  },
};

const drain: FaultDriver = {
  kind: 'drain',
  family: 'members',
  group: 'members',
  planned: true,
  text: 'a node joins, and another one gives all of its replicas away; then it is a member again, and the new one leaves',
  missing: ANYWHERE,
  inject: async (context) => {
    const { cluster } = context;
    const victim = await pickNode(context);
    const node = await joined(cluster);
    const lane = (async () => {
      await membership(cluster, victim, true);
      await voting(cluster, victim, (votes) => votes === 0);
      return `${victim.name} has no replicas any more`;
    })();
    return active(victim.name, lane, async () => {
      await membership(cluster, victim, false);
      await retired(cluster, node);
    });
  },
};

/** How far a move is when somebody who takes part in it is killed. */
const STEPS = ['its learner is there', 'its voters change', 'it is done'] as const;

type Records = Map<number, PartitionRecord>;

function isAt(step: (typeof STEPS)[number], { partition, to, state }: Move, records: Records): boolean {
  const record = records.get(partition);
  if (to === '' || record === undefined) return false;
  const has = (replicas: readonly { readonly node: string }[]) => replicas.some(({ node }) => node === to);
  if (step === 'its learner is there') return has(record.learners);
  if (step === 'its voters change') return has(record.voters) && record.previousVoters.length > 0;
  return state === 'done' && has(record.voters);
}

/**
 * Resolves with who takes part in a move that comes to a step, and runs; null: nobody does in time. Records are pushed by the router at every
 * change: voters change for some milliseconds only, which questions would miss.
 */
async function victimAt(
  cluster: ProcessCluster,
  step: (typeof STEPS)[number],
  who: (move: Move) => ClusterProcess | undefined,
): Promise<ClusterProcess | null> {
  const records: Records = new Map();
  let moves: readonly Move[] = [];
  let met: ClusterProcess | null = null;
  const look = (): void => {
    const there = moves.filter((move) => isAt(step, move, records)).map(who);
    met ??= there.find((one) => one?.running === true) ?? null;
  };
  const watch = reconnecting(({ up, down }) =>
    grpcConnector.watchTopology(cluster.router.address, makeHello({ role: 'client' }), {
      onTopology: (topology) => {
        up();
        for (const record of topology.records) records.set(record.partition, record);
        look();
      },
      onEnd: down,
    }),
  );
  try {
    const until = performance.now() + STEP_WAIT_MS;
    while (met === null && performance.now() < until) {
      moves = (await cluster.moves({ order: 'MOVES_TELL' }).catch(() => ({ moves }))).moves;
      look();
      if (met === null) await delay(LOOK_MS);
    }
  } finally {
    watch.stop();
  }
  return met;
}

/**
 * Kills somebody at every step of moves, and starts it again: while a node gets its first replicas, loses all of them, and gets some again, so
 * that there are moves at each step. Tells at which steps it was.
 */
async function killAtSteps(
  cluster: ProcessCluster,
  node: ClusterProcess,
  who: (move: Move) => ClusterProcess | undefined,
): Promise<string> {
  const met: string[] = [];
  for (const [at, step] of STEPS.entries()) {
    const leaves = at % 2 === 1;
    if (at > 0) await membership(cluster, node, leaves);
    const victim = await victimAt(cluster, step, who);
    if (victim !== null) {
      await victim.kill('SIGKILL');
      await delay(DOWN_MS);
      if (!victim.running) await victim.start();
      met.push(`${victim.name} when ${step}`);
    }
    await voting(cluster, node, (votes) => (leaves ? votes === 0 : votes > 0));
  }
  if (met.length < STEPS.length)
    throw new RingkeepError(
      'NOT_READY',
      `not every step of a move was met: killed ${met.join(', ') || 'nobody'}`,
    );
  return `killed ${met.join(', ')}`;
}

/** A node joins, leaves and joins again, and somebody who takes part in its moves is killed at each of their steps. */
function killWhileMoving(
  kind: string,
  whom: string,
  who: (cluster: ProcessCluster, move: Move) => ClusterProcess | undefined,
): FaultDriver {
  return {
    kind,
    family: 'members',
    group: 'members',
    text: `a node joins, leaves and joins again, and ${whom} is killed when a learner is made, when voters change, and after it`,
    missing: ANYWHERE,
    inject: async ({ cluster }) => {
      const node = await joined(cluster);
      const lane = killAtSteps(cluster, node, (move) => who(cluster, move));
      return active(node.name, lane, () => retired(cluster, node));
    },
  };
}

function named(cluster: ProcessCluster, name: string): ClusterProcess | undefined {
  return cluster.nodes.find((node) => node.name === name);
}

const killSource = killWhileMoving('kill-source', 'the node that a replica moves from', (cluster, { from }) =>
  named(cluster, from),
);
const killTarget = killWhileMoving('kill-target', 'the node that a replica moves to', (cluster, { to }) =>
  named(cluster, to),
);
const killController = killWhileMoving(
  'kill-controller',
  'the router, with the controller and the topology store,',
  ({ router }) => router,
);

/** Every fault of nodes that come and go. */
export const MEMBER_FAULTS: readonly FaultDriver[] = [
  ...[join, drain, replace, lose],
  ...[killSource, killTarget, killController],
];
