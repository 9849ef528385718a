/**
 * Real records in, the same records out: this machine's own package catalogue through `import` and `export`, on a quiet
 * cluster and on one whose busiest leader is killed on the way.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandResult, runCommand, runProgram } from '../support/command.ts';
import { eventually, ledBy, type ProcessCluster, startCluster } from '../support/processes.ts';

const EXAMPLE = fileURLToPath(new URL('../../examples/apt-catalogue.mjs', import.meta.url));
const RECORDS_MIN = 1_000;
const RECORDS_GENERATED = 20_000;
/** For the slowest of shared machines; the figures are printed, not asserted. */
const IMPORT_MS = 240_000;
const TEST_MS = 600_000;

const directory = await mkdtemp(join(tmpdir(), 'ringkeep-catalogue-'));
const source = join(directory, 'packages.jsonl');
let expected: ReadonlySet<string>;

afterAll(() => rm(directory, { recursive: true, force: true }));

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join(',')}}`;
}

/** Hashes of the records of a file; fails on a record that occurs twice. */
async function hashesOf(path: string): Promise<Set<string>> {
  const hashes = new Set<string>();
  let lines = 0;
  for await (const line of createInterface({ input: createReadStream(path) })) {
    lines += 1;
    hashes.add(
      createHash('sha256')
        .update(canonical(JSON.parse(line)))
        .digest('base64'),
    );
  }
  expect(hashes.size, 'different records').toBe(lines);
  return hashes;
}

/** A record of about the shape and size of a package's, different for every number. */
function generated(number: number): object {
  const digest = createHash('sha256').update(`${number}`).digest('hex');
  const depends = Array.from(
    { length: number % 12 },
    (_, n) => `lib${digest.slice(n, n + 8)} (>= ${n}.${number})`,
  );
  return {
    id: `package-${number}_1.${number % 90}_amd64`,
    package: `package-${number}`,
    description: `${digest.slice(0, 20)} für ${'Wörter '.repeat(number % 9)}`,
    depends,
    size: number * 977,
    sha256: digest,
  };
}

async function writeCatalogue(): Promise<string> {
  const made = await runProgram(process.execPath, [EXAMPLE]).catch(() => null);
  const records = made?.status === 0 ? made.stdout.split('\n').length - 1 : 0;
  if (made !== null && records >= RECORDS_MIN) {
    await writeFile(source, made.stdout);
    return `${records} records of this machine's package catalogue`;
  }
  const lines = Array.from({ length: RECORDS_GENERATED }, (_, n) => `${JSON.stringify(generated(n))}\n`);
  await writeFile(source, lines.join(''));
  return `${RECORDS_GENERATED} generated records, because this machine's package catalogue has ${records}`;
}

beforeAll(async () => {
  console.log(`catalogue: ${await writeCatalogue()}`);
  expected = await hashesOf(source);
}, TEST_MS);

function importCatalogue(cluster: ProcessCluster): Promise<CommandResult> {
  const flags = ['--key', 'id', '--keyspace', 'packages', '--no-resume', '--json'];
  return runCommand(['import', source, ...flags, '--url', cluster.url], { timeoutMs: IMPORT_MS });
}

/** Checks that the import took everything. */
function expectComplete(what: string, { status, stdout, stderr }: CommandResult): void {
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const summary = JSON.parse(stdout) as { imported: number; ms: number };
  expect(summary).toMatchObject({ imported: expected.size, bad: 0, blank: 0, complete: true });
  const rate = Math.round((summary.imported * 1_000) / summary.ms);
  console.log(`catalogue: ${what}: ${summary.imported} records in ${summary.ms} ms, ${rate} records/s`);
}

async function expectExported(cluster: ProcessCluster): Promise<void> {
  const target = join(directory, 'exported.jsonl');
  const startedAt = performance.now();
  const flags = ['--keyspace', 'packages', '--json', '--url', cluster.url];
  const { status, stderr } = await runCommand(['export', target, ...flags], { timeoutMs: IMPORT_MS });
  const ms = Math.round(performance.now() - startedAt);
  expect({ status, lastWords: JSON.parse(stderr) }).toEqual({
    status: 0,
    lastWords: { event: 'exported', rows: expected.size },
  });
  const found = await hashesOf(target);
  expect([...expected].filter((hash) => !found.has(hash))).toEqual([]);
  expect(found.size).toBe(expected.size);
  console.log(`catalogue: exported in ${ms} ms, ${Math.round((expected.size * 1_000) / ms)} records/s`);
}

/** Resolves once a part of the catalogue is committed, in (0, 1). */
async function untilCommitted(cluster: ProcessCluster, part: number): Promise<void> {
  await eventually('a part of the import', async (missing) => {
    const status = await cluster.status();
    const entries = status.replicas.reduce((sum, { commitIndex }) => sum + commitIndex, 0);
    return entries >= part * expected.size ? true : missing(`${entries} entries`);
  });
}

describe('a package catalogue', () => {
  it(
    'comes out as it went in',
    async () => {
      const cluster = await startCluster();
      expectComplete('import', await importCatalogue(cluster));
      await expectExported(cluster);
    },
    TEST_MS,
  );

  it(
    'is imported to the last record though the leader of most partitions is killed in the middle',
    async () => {
      const cluster = await startCluster();
      const importing = importCatalogue(cluster);
      await untilCommitted(cluster, 0.4);
      const topology = await cluster.topology();
      const [busiest] = [...cluster.nodes].sort(
        (a, b) => ledBy(topology, b.name).length - ledBy(topology, a.name).length,
      );
      await busiest!.kill('SIGKILL');
      const ended = await Promise.race([importing, cluster.topology()]);
      expect(ended, 'the import went on while the node was killed').toHaveProperty('records');
      expectComplete(`import with ${ledBy(topology, busiest!.name).length} leaders killed`, await importing);
      await expectExported(cluster);
      await busiest!.start();
      await cluster.whenHealthy();
      await expectExported(cluster);
    },
    TEST_MS,
  );
});
