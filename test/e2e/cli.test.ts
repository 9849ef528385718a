/** The commands against a real cluster, as a user types them: values in, the same values out, statuses and errors. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ShownStatus } from '../../src/cli/status.ts';
import { type CommandResult, runCommand } from '../support/command.ts';
import { eventually } from '../support/processes.ts';
import { cleanUp, startUp, type UpCluster } from '../support/up-cluster.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/ringkeep.js', import.meta.url));
const PARTITIONS = 8;
const RECORDS = 3_000;
/** A port of which nobody answers: it needs privileges and belongs to no service here. */
const NOWHERE = 'ringkeep://127.0.0.1:1';

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
let cluster: UpCluster;

beforeAll(async () => {
  cluster = await startUp(['--ephemeral', '--partitions', `${PARTITIONS}`]);
}, 120_000);
afterAll(async () => {
  await cleanUp();
  rmSync(root, { recursive: true, force: true });
});

function ok({ status, stdout, stderr }: CommandResult): string {
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

/** Records as they come: text of all kinds, numbers that JavaScript cannot hold, keys that occur twice in an object. */
function recordLine(number: number): string {
  const digest = createHash('sha256').update(`${number}`).digest('hex');
  const text = JSON.stringify(`${'łąka "quoted" \\ \u2028 '.repeat(number % 7)}${digest}\n\u0000`);
  const tail = `"text":${text},"big":9007199254740993${number},"float":1.50,"__proto__":{"x":${number}}`;
  return number % 2 === 0
    ? `{"id":"k-${number}",${tail}}`
    : `{ "id" : ${number}, ${tail}, "id" : ${number} }`;
}

function sortedLines(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .sort();
}

describe('put, get and del', () => {
  it('give back what was put, in the form in which it was put', async () => {
    ok(await cluster.run(['put', 'json', '{"name":"Ada","n":[1,2]}']));
    expect(ok(await cluster.run(['get', 'json']))).toBe('{"name":"Ada","n":[1,2]}\n');
    ok(await cluster.run(['put', 'text', 'plain text']));
    expect(ok(await cluster.run(['get', 'text']))).toBe('plain text\n');
    ok(await cluster.run(['put', 'dash', '-'], 'from\nstdin'));
    expect(ok(await cluster.run(['get', 'dash']))).toBe('from\nstdin\n');
    ok(await cluster.run(['put', 'packed', '{"a":1}', '--codec', 'msgpack', '--ack', 'all']));
    expect(JSON.parse(ok(await cluster.run(['get', 'packed', '--json'])))).toMatchObject({
      key: 'packed',
      found: true,
      value: { a: 1 },
    });
  });

  it('keep keyspaces apart, and tell an absent key by the status', async () => {
    const written = JSON.parse(ok(await cluster.run(['put', 'k', 'here', '--keyspace', 'one', '--json'])));
    expect(written).toMatchObject({ key: 'k', durability: 'quorum', duplicate: false });
    expect(written.version).toBeGreaterThan(0);
    expect(await cluster.run(['get', 'k', '--json'])).toEqual({
      status: 1,
      stdout: '{"key":"k","found":false}\n',
      stderr: '',
    });
    expect(ok(await cluster.run(['get', 'k', '--keyspace', 'one']))).toBe('here\n');
    ok(await cluster.run(['del', 'k', '--keyspace', 'one']));
    const absent = await cluster.run(['get', 'k', '--keyspace', 'one']);
    expect(absent).toEqual({ status: 1, stdout: '', stderr: 'k is absent\n' });
  });

  it('let values go after a time, and stay', async () => {
    ok(await cluster.run(['put', 'brief', 'x', '--ttl', '900ms']));
    ok(await cluster.run(['put', 'kept', 'x', '--ttl', '5m']));
    const { expiresAt } = JSON.parse(ok(await cluster.run(['get', 'kept', '--json'])));
    expect(Math.abs(expiresAt - Date.now())).toBeLessThan(10 * 60_000);
    expect(ok(await cluster.run(['persist', 'kept']))).toMatch(/^changed kept /);
    await eventually('the value to go', async (missing) => {
      const { status, stderr } = await cluster.run(['get', 'brief']);
      return status === 1 && stderr === 'brief is absent\n' ? true : missing(stderr);
    });
    expect(JSON.parse(ok(await cluster.run(['get', 'kept', '--json'])))).not.toHaveProperty('expiresAt');
    ok(await cluster.run(['expire', 'kept', '1h', '--ack', 'all']));
    expect(JSON.parse(ok(await cluster.run(['get', 'kept', '--json']))).expiresAt).toBeGreaterThan(expiresAt);
    expect(await cluster.run(['expire', 'brief', '1h'])).toMatchObject({
      ...{ status: 1, stderr: 'not changed: brief is absent\n' },
    });
    expect((await cluster.run(['put', 'k', 'x', '--ttl', '30'])).status).toBe(2);
    expect((await cluster.run(['expire', 'k', '0s'])).status).toBe(2);
  });

  it('count, in all of 64 bits', async () => {
    expect(ok(await cluster.run(['incr', 'n']))).toBe('1\n');
    expect(ok(await cluster.run(['incr', 'n', '--by', '9223372036854775806']))).toBe('9223372036854775807\n');
    expect(ok(await cluster.run(['get', 'n']))).toBe('9223372036854775807\n');
    const over = await cluster.run(['incr', 'n', '--json']);
    expect(over.status).toBe(1);
    expect(JSON.parse(over.stderr).error).toMatchObject({ code: 'COUNTER_OVERFLOW', outcome: 'not_applied' });
    expect(ok(await cluster.run(['incr', 'n', '--by', '-9223372036854775807', '--json']))).toContain(
      '"value":0',
    );
    expect(ok(await cluster.run(['add', 'n', '--by', '-3']))).toBe('added -3 to n (on a quorum of disks)\n');
    expect(ok(await cluster.run(['get', 'n']))).toBe('-3\n');
    ok(await cluster.run(['put', 's', 'text']));
    expect((await cluster.run(['incr', 's'])).stderr).toMatch(/^error: NOT_A_COUNTER /);
    expect((await cluster.run(['incr', 'n', '--by', '1.5'])).status).toBe(2);
  });

  it('write several keys of one hash tag at once, or none', async () => {
    const lines = (...operations: object[]): string =>
      operations.map((one) => JSON.stringify(one)).join('\n');
    const order = { type: 'put', key: 'order:{tea}', value: { amount: 2 }, ifAbsent: true };
    const sell = { type: 'increment', key: 'stock:{tea}', delta: -2 };
    const first = await cluster.run(['batch', '-'], lines(sell, order));
    expect(ok(first)).toMatch(/^wrote 2 keys \(version \d+, on a quorum of disks\)\nstock:\{tea\} -2\n$/);
    const again = await cluster.run(['batch', '-', '--json'], lines(sell, order));
    expect(again.status).toBe(1);
    const { applied, results } = JSON.parse(again.stdout);
    expect([applied, results[0].failed, results[1].failed]).toEqual([false, false, true]);
    expect((await cluster.run(['batch', '-'], lines(sell, order))).stderr).toMatch(
      /^not written: order:\{tea\} has version \d+\n$/,
    );
    expect(ok(await cluster.run(['get', 'stock:{tea}']))).toBe('-2\n');
    expect(JSON.parse(ok(await cluster.run(['get', 'order:{tea}'])))).toEqual({ amount: 2 });
    const apart = await cluster.run(['batch', '-'], lines(sell, { ...order, key: 'order:1' }));
    expect(apart.status).toBe(1);
    expect(apart.stderr).toMatch(/^error: CROSS_PARTITION .*\{tag\}/);
    expect((await cluster.run(['batch', '-'], '{')).stderr).toMatch(/line 1 is not JSON/);
  });

  it('repeat a result under its idempotency key, and refuse another write', async () => {
    const once = ['--idempotency-key', 'order 7'];
    ok(await cluster.run(['put', 'i', '1', ...once]));
    ok(await cluster.run(['put', 'i', '2']));
    expect(ok(await cluster.run(['put', 'i', '1', ...once]))).toMatch(/^before: wrote i /);
    expect(ok(await cluster.run(['get', 'i']))).toBe('2\n');
    expect((await cluster.run(['put', 'i', '3', ...once])).stderr).toMatch(/^error: IDEMPOTENCY_CONFLICT /);
    const counted = ['incr', 'i-n', '--json', ...once];
    expect(JSON.parse(ok(await cluster.run(counted)))).toMatchObject({ value: 1, repeated: false });
    expect(JSON.parse(ok(await cluster.run(counted)))).toMatchObject({ value: 1, repeated: true });
  });

  it('write only if a condition holds, and tell by the status', async () => {
    expect(ok(await cluster.run(['put', 'c', '1', '--if-absent']))).toMatch(/^wrote c /);
    const { version } = JSON.parse(ok(await cluster.run(['get', 'c', '--json'])));
    expect(await cluster.run(['put', 'c', '2', '--if-absent'])).toEqual({
      status: 1,
      stdout: '',
      stderr: `not written: c has version ${version}\n`,
    });
    ok(await cluster.run(['put', 'c', '3', '--if-version', String(version)]));
    const late = await cluster.run(['del', 'c', '--if-version', String(version), '--json']);
    expect(late.status).toBe(1);
    expect(JSON.parse(late.stdout)).toMatchObject({ key: 'c', applied: false });
    expect(ok(await cluster.run(['get', 'c']))).toBe('3\n');
    ok(await cluster.run(['del', 'c', '--if-exists', '--ack', 'all']));
    const gone = await cluster.run(['del', 'c', '--if-exists', '--ack', 'all']);
    expect(gone).toEqual({ status: 1, stdout: '', stderr: 'not deleted: c is absent\n' });
    expect((await cluster.run(['put', 'c', '1', '--if-absent', '--if-exists'])).status).toBe(2);
    expect((await cluster.run(['put', 'c', '1', '--if-version', '0'])).status).toBe(2);
    const early = await cluster.run(['put', 'c', '1', '--if-absent', '--ack', 'leader']);
    expect(early).toMatchObject({ status: 1, stdout: '' });
    expect(early.stderr).toMatch(/^error: CONDITION_UNSUPPORTED /);
  });
});

describe('status', () => {
  it('has the shape that scripts rely on', async () => {
    const status = JSON.parse(ok(await cluster.run(['status', '--json']))) as ShownStatus;
    expect(
      status.nodes.map(({ id, address, pid, alive, reason }) => ({ id, address, pid, alive, reason })),
    ).toEqual(
      cluster.ready.nodes.map(({ id, address, pid }) => ({ id, address, pid, alive: true, reason: '' })),
    );
    expect(status.nodes.every(({ diskBytes }) => diskBytes > 0)).toBe(true);
    expect(status.partitions.map(({ partition }) => partition)).toEqual([...Array(PARTITIONS).keys()]);
    for (const { epoch, leader, voters, established } of status.partitions) {
      expect(epoch).toBeGreaterThan(0);
      expect(established).toBe(true);
      expect(voters).toContain(leader);
      expect([...voters].sort()).toEqual(['n1', 'n2', 'n3']);
    }
    expect(Math.max(...status.partitions.map(({ commitIndex }) => commitIndex))).toBeGreaterThan(0);
  });

  it('has what storage costs, as every node says of itself', async () => {
    ok(await cluster.run(['put', 'stored', 'x'.repeat(100), '--ack', 'all']));
    const nodes = await eventually('every node to have the write in its store', async (missing) => {
      const status = JSON.parse(ok(await cluster.run(['status', '--json']))) as ShownStatus;
      const applied = status.nodes.every(
        ({ storage }) => storage !== null && storage.clientBytes > 100 && storage.batchBytes > 100,
      );
      return applied ? status.nodes : missing(JSON.stringify(status.nodes));
    });
    for (const { id, storage } of nodes) {
      expect(storage!.walBytesWritten, id).toBeGreaterThan(storage!.clientBytes);
      expect(storage!.writeAmplification, 'before a MiB').toBeNull();
      expect(storage!.batches).toBeGreaterThan(0);
    }
  });

  it('is a table for people', async () => {
    const text = ok(await cluster.run(['status', '--partitions']));
    expect(text).toContain(`${PARTITIONS} of ${PARTITIONS} partitions take writes`);
    expect(text).toMatch(/^n3 +127\.0\.0\.1:\d+ .* up$/m);
  });
});

describe('import and export', () => {
  const lines = Array.from({ length: RECORDS }, (_, number) => recordLine(number));
  const run = (args: readonly string[], input?: string) => cluster.run(args, input);

  it('give back the same records, byte for byte', async () => {
    const file = join(root, 'records.jsonl');
    writeFileSync(file, `\ufeff${lines.join('\r\n')}`);
    const flags = ['--key', 'id', '--keyspace', 'records'];
    const summary = JSON.parse(ok(await run(['import', file, ...flags, '--json'])));
    expect(summary).toMatchObject({ imported: RECORDS, bad: 0, lines: RECORDS, complete: true });
    expect(readdirSync(root)).toEqual(['records.jsonl']);
    const exported = join(root, 'exported.jsonl');
    const { status, stderr } = await run(['export', exported, '--keyspace', 'records', '--json']);
    expect({ status, last: JSON.parse(stderr) }).toEqual({
      status: 0,
      last: { event: 'exported', rows: RECORDS },
    });
    expect(sortedLines(readFileSync(exported, 'utf8'))).toEqual([...lines].sort());
    const again = JSON.parse(ok(await run(['import', exported, ...flags, '--json'])));
    expect(again).toMatchObject({ imported: RECORDS, complete: true });
    expect(sortedLines(ok(await run(['export', '--keyspace', 'records'])))).toEqual([...lines].sort());
  });

  it('keep msgpack records and show keys and versions when asked', async () => {
    const input = '{"id":"a","x":[1.5,null,"é"]}\n{"id":"b","x":{}}\n';
    ok(await run(['import', '-', '--key', 'id', '--keyspace', 'packed', '--codec', 'msgpack'], input));
    expect(sortedLines(ok(await run(['export', '--keyspace', 'packed'])))).toEqual(sortedLines(input));
    const withKeys = sortedLines(ok(await run(['export', '--keyspace', 'packed', '--with-keys'])));
    expect(withKeys.map((line) => JSON.parse(line))).toMatchObject([
      { key: 'a', value: { id: 'a', x: [1.5, null, 'é'] }, version: expect.any(Number) },
      { key: 'b', value: { id: 'b', x: {} }, version: expect.any(Number) },
    ]);
  });

  it('report bad lines by number, import the rest, and say so by the status', async () => {
    const input = '{"id":"a"}\nnonsense\n\n{"no":"key"}\n{"id":"b"}\n';
    const flags = ['--key', 'id', '--keyspace', 'bad'];
    const told = await run(['import', '-', ...flags], input);
    expect(told.status).toBe(1);
    expect(told.stderr).toMatch(/^line 2: INVALID_ARGUMENT .*\nline 4: INVALID_ARGUMENT .*\n$/);
    const { status, stdout } = await run(['import', '-', ...flags, '--json'], input);
    expect(status).toBe(1);
    const summary = JSON.parse(stdout);
    expect(summary).toMatchObject({ imported: 2, bad: 2, blank: 1, complete: true });
    expect(summary.badLines.map(({ line }: { line: number }) => line)).toEqual([2, 4]);
    expect(sortedLines(ok(await run(['export', '--keyspace', 'bad'])))).toEqual(['{"id":"a"}', '{"id":"b"}']);
    const strict = await run(['import', '-', ...flags, '--max-errors', '0', '--json'], input);
    expect(strict.status).toBe(1);
    expect(JSON.parse(strict.stderr)).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
    expect(JSON.parse(strict.stdout)).toMatchObject({ complete: false, bad: 1 });
  });

  it('go on where an import was interrupted, and only for the same input', async () => {
    const checkpoint = join(root, 'checkpoint');
    const flags = ['--key', 'id', '--keyspace', 'resumed', '--resume', checkpoint, '--json'];
    const text = `${lines.join('\n')}\n`;
    const half = text.slice(0, text.indexOf('\n', text.length / 2) + 1);
    const env = { ...process.env, RINGKEEP_URL: cluster.ready.url };
    const first = spawn(process.execPath, [PROGRAM, 'import', '-', ...flags], { env, stdio: 'pipe' });
    const ended = new Promise<number | null>((resolve) => first.on('close', resolve));
    // Its input stays open: it can only be ended by the signal.
    first.stdin.write(half);
    await eventually('a checkpoint at the half', (missing) => {
      if (!existsSync(checkpoint)) return missing('no checkpoint');
      const { end } = JSON.parse(readFileSync(checkpoint, 'utf8')) as { end: number };
      return end === Buffer.byteLength(half) ? true : missing(`at ${end}`);
    });
    first.kill('SIGINT');
    expect(await ended).toBe(130);
    const other = await run(['import', '-', ...flags], text.replace('k-0', 'k-1'));
    expect(other.status).toBe(1);
    expect(JSON.parse(other.stderr)).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
    const done = half.split('\n').length - 1;
    expect(JSON.parse(ok(await run(['import', '-', ...flags], text)))).toMatchObject({
      resumedAfterLine: done,
      imported: RECORDS - done,
      lines: RECORDS,
      complete: true,
    });
    expect(existsSync(checkpoint)).toBe(false);
    expect(sortedLines(ok(await run(['export', '--keyspace', 'resumed'])))).toEqual([...lines].sort());
  });

  it('remember over a resumption the bad lines that an earlier run has left out', async () => {
    const file = join(root, 'resumed-bad.jsonl');
    writeFileSync(file, 'nonsense\n{"id":1}\nnonsense\n{"id":2}\n');
    const flags = ['import', file, '--key', 'id', '--keyspace', 'resumed-bad', '--json'];
    const stopped = await run([...flags, '--max-errors', '1']);
    expect(stopped.status).toBe(1);
    expect(JSON.parse(stopped.stdout)).toMatchObject({ complete: false, lines: 2, bad: 2 });
    const again = await run([...flags, '--max-errors', '1']);
    expect(again.status).toBe(1);
    expect(JSON.parse(again.stdout)).toMatchObject({ complete: false, resumedAfterLine: 2, bad: 2 });
    writeFileSync(file, 'nonsense\n{"id":1}\n{"id":3}\n{"id":2}\n');
    const ended = await run([...flags, '--max-errors', '1']);
    const summary = JSON.parse(ended.stdout);
    expect(summary).toMatchObject({ complete: true, resumedAfterLine: 2, imported: 2, bad: 1 });
    expect(summary.badLines).toMatchObject([{ line: 1, code: 'INVALID_ARGUMENT' }]);
    expect(ended.status).toBe(1);
  });

  it('leave no half file behind, and end quietly when nobody reads on', async () => {
    const target = join(root, 'none', 'exported.jsonl');
    const { status, stderr } = await run(['export', target, '--json']);
    expect(status).toBe(1);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'ENOENT' } });
    const env = { ...process.env, RINGKEEP_URL: cluster.ready.url };
    const child = spawn(process.execPath, [PROGRAM, 'export', '--keyspace', 'records'], {
      env,
      stdio: 'pipe',
    });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    child.stdout.once('data', () => child.stdout.destroy());
    const ended = await new Promise((resolve) => child.on('close', resolve));
    expect({ ended, errors }).toEqual({ ended: 0, errors: '' });
  });
});

describe('waldump', () => {
  it('prints the records of a running node’s log, those of one partition if asked', async () => {
    const data = cluster.node('n1').data;
    const { stdout } = await cluster.run(['waldump', data, '--partition', '3', '--json']);
    const records = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const entries = records.filter(({ kind, type }) => kind === 'record' && type === 'entry');
    expect(entries.length).toBeGreaterThan(0);
    expect(new Set(entries.map(({ partition }) => partition))).toEqual(new Set([3]));
    const nothing = await cluster.run(['waldump', root, '--json']);
    expect(nothing.status).toBe(1);
    expect(JSON.parse(nothing.stderr)).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
  });
});

describe('a command line that makes no sense', () => {
  it('is refused with status 2 and what is wrong with it', async () => {
    for (const [args, text] of [
      [['get', 'k', '--frobnicate'], /unknown option '--frobnicate'/],
      [['frobnicate'], /unknown command 'frobnicate'/],
      [['get'], /missing required argument 'key'/],
      [['get', 'k', 'more'], /too many arguments/],
      [['put', 'k', 'v', '--ack', 'maybe'], /leader, quorum, all/],
      [['put', 'k', 'v', '--timeout', 'soon'], /whole number/],
      [['import', 'x.jsonl'], /--key/],
      [['node', '--id', 'n1', '--data', root], /--router/],
      [[], /Usage: ringkeep/],
    ] as const) {
      const { status, stdout, stderr } = await runCommand(args);
      expect({ args, status, stdout }).toEqual({ args, status: 2, stdout: '' });
      expect(stderr).toMatch(text);
    }
    const { status, stderr } = await runCommand(['get', 'k', '--frobnicate', '--json']);
    expect(status).toBe(2);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
  });

  it('has help with examples for every command', async () => {
    const commands = ['up', 'node', 'router', 'status', 'put', 'get', 'del', 'import', 'export', 'waldump'];
    const helps = await Promise.all(commands.map((command) => runCommand([command, '--help'])));
    for (const help of helps) expect(ok(help)).toMatch(/Examples?:\n {2}ringkeep /);
  });
});

describe('a cluster that is not there', () => {
  it('is an operating error with its code and status 1, for every command', async () => {
    const file = join(root, 'one.jsonl');
    writeFileSync(file, '{"id":1}\n');
    for (const args of [
      ['get', 'k'],
      ['put', 'k', 'v'],
      ['status'],
      ['export'],
      ['import', file, '--key', 'id'],
    ]) {
      const { status, stdout, stderr } = await runCommand([...args, '--url', NOWHERE, '--json']);
      expect({ args, status, stdout }).toEqual({ args, status: 1, stdout: '' });
      expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'UNAVAILABLE', outcome: 'not_applied' } });
    }
    const { status, stderr } = await runCommand(['get', 'k', '--url', NOWHERE]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error: UNAVAILABLE .*ECONNREFUSED.*ringkeep up/);
    const unknown = await runCommand(['get', 'k', '--url', 'ringkeep://name.invalid:7400']);
    expect(unknown.stderr).toMatch(
      /^error: UNAVAILABLE .*name\.invalid:7400: .*(resolution|ENOTFOUND).*ringkeep up/i,
    );
  });

  it('is told apart from a node, at which no router answers', async () => {
    const url = `ringkeep://${cluster.node('n1').address}`;
    const { status, stderr } = await runCommand(['get', 'k', '--url', url]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error: UNAVAILABLE .*is a node, not a router/);
  });
});
