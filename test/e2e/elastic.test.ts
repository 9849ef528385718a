/**
 * Nodes that come and go as people let them: `scale` on a running `up`, `drain`, `rebalance`, `status --explain`, `node --join`, and
 * the mistakes one makes with them. What clients see meanwhile is test/crash/elastic.test.ts and `npm run bench:moves`.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { MovesDocument } from '../../bench/moves/document.ts';
import type { ShownMoves } from '../../src/cli/shown-moves.ts';
import type { ShownStatus } from '../../src/cli/status.ts';
import { connect } from '../../src/client/index.ts';
import { type CommandResult, runCommand, runProgram } from '../support/command.ts';
import { eventually, startCluster } from '../support/processes.ts';
import { cleanUpAfterEach, isRunning, startUp, type UpCluster } from '../support/up-cluster.ts';

const KEYS = 60;

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
cleanUpAfterEach();

let directories = 0;
function newDirectory(): string {
  directories += 1;
  return join(root, `data-${directories}`);
}

async function ok(running: Promise<CommandResult>): Promise<string> {
  const { status, stdout, stderr } = await running;
  expect(status, stderr + stdout).toBe(0);
  return stdout;
}

async function movesOf(up: UpCluster, ...args: string[]): Promise<ShownMoves> {
  return JSON.parse(await ok(up.run([...args, '--json']))) as ShownMoves;
}

async function statusOf(up: UpCluster): Promise<ShownStatus> {
  return JSON.parse(await ok(up.run(['status', '--json']))) as ShownStatus;
}

async function votesOf(up: UpCluster): Promise<Record<string, number>> {
  const { nodes } = await statusOf(up);
  return Object.fromEntries(nodes.filter(({ alive }) => alive).map(({ id, votes }) => [id, votes]));
}

function row(at: number): object {
  return { key: `k${at}`, value: `v${at}` };
}

async function fill(up: UpCluster): Promise<void> {
  const lines = Array.from({ length: KEYS }, (_, at) => JSON.stringify(row(at)));
  const file = join(root, 'rows.jsonl');
  writeFileSync(file, `${lines.join('\n')}\n`);
  await ok(up.run(['import', file, '--key', 'key']));
}

async function expectFilled(up: UpCluster): Promise<void> {
  for (let at = 0; at < KEYS; at += 7)
    expect(JSON.parse(await ok(up.run(['get', `k${at}`])))).toEqual(row(at));
}

describe('ringkeep scale', () => {
  it('makes 3 nodes 5 and 3 again, and keeps every key; the next `up` runs as many', async () => {
    const data = newDirectory();
    const up = await startUp(['--data', data, '--partitions', '6']);
    await fill(up);
    expect(await ok(up.run(['rebalance', '--plan']))).toBe('Nothing is to be moved.\n');

    expect(await ok(runCommand(['scale', '--nodes', '5', '--data', data]))).toBe(
      '5 nodes run, and every replica is where it belongs.\n',
    );
    const five = await votesOf(up);
    expect(Object.keys(five).sort()).toEqual(['n1', 'n2', 'n3', 'n4', 'n5']);
    expect(Object.values(five).reduce((sum, votes) => sum + votes)).toBe(18);
    for (const [id, votes] of Object.entries(five)) expect(votes, id).toBeGreaterThanOrEqual(2);
    for (const votes of Object.values(five)) expect(votes).toBeLessThanOrEqual(5);
    await expectFilled(up);
    expect(up.events.map(({ event, id }) => `${event} ${id}`).sort()).toEqual(['joined n4', 'joined n5']);

    // Whoever asks twice is told the same.
    await ok(runCommand(['scale', '--nodes', '5', '--data', data]));
    const { nodes, moves } = JSON.parse(
      await ok(runCommand(['scale', '--nodes', '3', '--data', data, '--json'])),
    ) as { nodes: number; moves: ShownMoves };
    expect(nodes).toBe(3);
    expect(moves.state).toBe('done');
    expect(await votesOf(up)).toEqual({ n1: 6, n2: 6, n3: 6 });
    // Who has left is not shown as down.
    expect((await statusOf(up)).nodes.map(({ id }) => id)).toEqual(['n1', 'n2', 'n3']);
    await expectFilled(up);
    await eventually('the end of n4 and n5', (missing) => {
      const left = up.pids.filter(isRunning).length;
      return left === 4 ? true : missing(`${left} processes`);
    });
    // Whoever comes back under a name that was forgotten is a member.
    expect(await ok(runCommand(['scale', '--nodes', '4', '--data', data]))).toBe(
      '4 nodes run, and every replica is where it belongs.\n',
    );
    expect((await votesOf(up)).n4).toBeGreaterThan(0);
    await ok(runCommand(['scale', '--nodes', '3', '--data', data]));

    const few = await runCommand(['scale', '--nodes', '2', '--data', data]);
    expect(few.status).toBe(1);
    expect(few.stderr).toContain('each partition is on 3 nodes: lower that first');
    expect(await up.end('SIGTERM')).toBe(0);

    const gone = await runCommand(['scale', '--nodes', '4', '--data', data]);
    expect(gone.status).not.toBe(0);
    expect(gone.stderr).toContain('no cluster answers');
    const again = await startUp(['--data', data]);
    expect(again.ready.nodes.map(({ id }) => id)).toEqual(['n1', 'n2', 'n3']);
    await expectFilled(again);
  });

  it('remembers nodes before they run: an `up` that is killed while it starts them is followed by one that has them all', async () => {
    const data = newDirectory();
    const up = await startUp(['--data', data, '--partitions', '2']);
    const scaling = runCommand(['scale', '--nodes', '5', '--data', data]);
    await eventually('n4 or n5', (missing) => {
      if (!existsSync(join(data, 'n4')) && !existsSync(join(data, 'n5'))) return missing('neither');
      const { nodes } = JSON.parse(readFileSync(join(data, 'up.json'), 'utf8')) as { nodes: number };
      expect(nodes).toBe(5);
      return true;
    });
    await up.end('SIGKILL');
    const again = await startUp(['--data', data]);
    expect(again.ready.nodes.map(({ id }) => id)).toEqual(['n1', 'n2', 'n3', 'n4', 'n5']);
    await scaling;
  });

  it('says that there is no cluster in a directory', async () => {
    const { status, stderr } = await runCommand(['scale', '--nodes', '4', '--data', join(root, 'none')]);
    expect(status).toBe(1);
    expect(stderr).toContain(join(root, 'none'));
  });
});

describe('a node that is drained', () => {
  it('gives everything away, gets nothing back until --undo, and may be restarted meanwhile', async () => {
    const up = await startUp(['--ephemeral', '--port', '0', '--nodes', '4', '--partitions', '6']);
    await fill(up);
    expect(await ok(up.run(['drain', 'n4']))).toBe('n4 has no replicas any more and can be stopped.\n');
    expect((await votesOf(up)).n4).toBe(0);
    expect(await ok(up.run(['status']))).toMatch(/^n4 .* drained$/m);
    expect(await ok(up.run(['status', '--explain', '0']))).toMatch(/^n4 +- +leaves, and gets no replicas/m);
    process.kill(up.node('n4').pid, 'SIGKILL');
    await eventually('n4 again', async (missing) => {
      const { nodes } = await statusOf(up);
      const n4 = nodes.find(({ id }) => id === 'n4');
      return up.events.some(({ event }) => event === 'restarted') && n4?.alive
        ? true
        : missing(JSON.stringify(n4));
    });
    expect((await votesOf(up)).n4).toBe(0);
    expect(await ok(up.run(['drain', 'n4', '--undo']))).toBe('n4 is a member again.\n');
    await eventually('its share', async (missing) => {
      const { n4 = 0 } = await votesOf(up);
      return n4 > 0 ? true : missing('none');
    });
    await expectFilled(up);
  });

  it('keeps what nobody else can take, and says so', async () => {
    const up = await startUp(['--ephemeral', '--port', '0', '--partitions', '4']);
    const { status, stdout } = await up.run(['drain', 'n3']);
    expect(status).toBe(3);
    expect(stdout).toContain('4 replicas stay on n3: no other node can take them');
    expect(await ok(up.run(['status']))).toContain(
      '4 replicas on n3 should move, and no other node can take',
    );
    // With one copy less there is room.
    await ok(up.run(['rebalance', '--replication-factor', '2']));
    await eventually('two voters each, none on n3', async (missing) => {
      const votes = await votesOf(up);
      return votes.n3 === 0 && votes.n1 === 4 && votes.n2 === 4 ? true : missing(JSON.stringify(votes));
    });
    const { replicationFactor, moves } = JSON.parse(await ok(up.run(['status', '--json']))) as ShownStatus & {
      moves: ShownMoves;
    };
    expect({ replicationFactor, stuck: moves.stuck }).toEqual({ replicationFactor: 2, stuck: [] });
  });
});

describe('ringkeep rebalance', () => {
  it('shows before it moves, moves when told to, and ends at a safe point', async () => {
    const cluster = await startCluster({ nodes: 3, spares: 1, partitions: 6 });
    const env = { ...process.env, RINGKEEP_URL: cluster.url };
    const run = (...args: string[]) => runCommand(args, { env });
    await ok(run('rebalance', '--automatic', 'off', '--rate', '1MiB', '--per-node', '1'));
    // So much that the nodes have it in tables, which is what they know the size of.
    const value = randomBytes(200_000).toString('base64');
    const client = connect(cluster.url);
    for (let at = 0; at < 200; at += 1) await client.put(`big${at}`, value);
    await client.close();
    await cluster.join();
    const plan = await eventually('a plan', async (missing) => {
      const text = await ok(run('rebalance', '--plan'));
      // The nodes tell what they have every few seconds.
      return /^partition \d: n\d to n4, \d.*MiB$/m.test(text) ? text : missing(text);
    });
    expect(plan).toMatch(/moves, [\d.]+ MiB, about \d+ s at 1(\.0)? MiB\/s per node, 1 at a time/);
    // Nothing moves by itself.
    expect(await ok(run('rebalance', '--show'))).toContain('Moves begin when they are asked for');
    await ok(run('rebalance', '--no-wait'));
    await eventually('a move under way', async (missing) => {
      const text = await ok(run('status'));
      return /Moves replicas \(asked for\): \d of \d done, 1 under way; .*left/.test(text)
        ? true
        : missing(text);
    });
    const aborted = await ok(run('rebalance', '--abort'));
    expect(aborted).toMatch(/^Aborted: \d of \d moves were done\.$/m);
    const { records } = await cluster.topology();
    for (const { voters, learners, established } of records) {
      expect(voters).toHaveLength(3);
      expect(learners).toEqual([]);
      expect(established).toBe(true);
    }
    // Faster, and to the end.
    expect(await ok(run('rebalance', '--rate', '256MiB', '--per-node', '4'))).toContain(
      '256.0 MiB/s per node',
    );
    expect(await ok(run('rebalance'))).toMatch(/^Done: \d moves?, .* \(asked for\)\.$/m);
    expect(await ok(run('rebalance', '--plan'))).toBe('Nothing is to be moved.\n');
    // Not what was done before.
    expect(await ok(run('rebalance'))).toBe('Nothing is to be moved.\n');
    expect(await ok(run('rebalance', '--abort'))).toBe('No moves are under way.\n');
    expect(await ok(run('get', 'big7'))).toBe(`${value}\n`);
    // Though moves do not begin by themselves.
    expect(await ok(run('drain', 'n4'))).toBe('n4 has no replicas any more and can be stopped.\n');
    const running = await run('forget', 'n4');
    expect(running.status).toBe(1);
    expect(running.stderr).toContain('n4 runs: stop it first');
    await cluster.node('n4').kill('SIGTERM');
    await eventually('n4 forgotten', async (missing) => {
      const { status, stdout, stderr } = await run('forget', 'n4');
      return status === 0 && stdout === 'n4 is forgotten.\n' ? true : missing(stderr);
    });
    expect(await ok(run('status'))).not.toMatch(/^n4 /m);
  });

  it('refuses what makes no sense', async () => {
    const up = await startUp(['--ephemeral', '--port', '0', '--partitions', '2']);
    const refused = async (args: string[], text: string, expected = 1): Promise<void> => {
      const { status, stderr } = await up.run(args);
      expect(status, args.join(' ')).toBe(expected);
      expect(stderr).toContain(text);
    };
    await refused(['rebalance', '--plan', '--abort'], 'go one at a time', 2);
    await refused(['rebalance', '--rate', 'fast'], 'bytes, such as 8388608 or 8MiB', 2);
    await refused(['rebalance', '--rate', '1'], 'bytes per second is a whole number from');
    await refused(['rebalance', '--lost-after', '1'], 'lost after');
    await refused(['rebalance', '--replication-factor', '4'], 'needs as many nodes, there are 3');
    await refused(['drain', 'n9'], 'there is no node n9');
    await refused(['status', '--explain', '2'], 'partitions are numbered from 0 to 1');
    const none = await movesOf(up, 'rebalance', '--abort');
    expect(none).toMatchObject({ state: 'none', total: 0 });
  });
});

describe('npm run bench:moves', () => {
  it('measures both ways, and leaves nothing behind', async () => {
    const data = newDirectory();
    const output = join(root, 'moves.json');
    const program = join(import.meta.dirname, '../../dist/bench/moves/main.js');
    const flags = ['--quick', '--data', data, '--output', output];
    await ok(runProgram(process.execPath, [program, ...flags], { timeoutMs: 150_000 }));
    const { phases, changes, verdicts } = JSON.parse(readFileSync(output, 'utf8')) as MovesDocument;
    expect(phases.map(({ phase }) => phase)).toEqual(['quiet small', 'growing', 'quiet large', 'shrinking']);
    for (const { phase, throughput, failures } of phases) {
      expect(throughput, phase).toBeGreaterThan(0);
      expect(failures, phase).toEqual([]);
    }
    expect(changes.map(({ from, to }) => [from, to])).toEqual([
      [3, 5],
      [5, 3],
    ]);
    for (const { moves, neededBytes } of changes) {
      expect(moves).toBeGreaterThan(0);
      // How much of it comes in snapshots is not for so few records to show: they come by the log.
      expect(neededBytes).toBeGreaterThan(0);
    }
    expect(verdicts).toHaveLength(2);
    expect(readFileSync(join(root, 'moves.html'), 'utf8')).toContain('While replicas move');
  });
});
