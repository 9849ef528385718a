/**
 * Makes test/golden/format-N: the data directories of a whole small cluster (a router and three nodes) as this build leaves them when
 * all of its processes are killed, and beside them manifest.json, what must be read from them for ever after. Later builds have to start
 * on it (test/crash/golden.test.ts).
 *
 *     npm run build && node scripts/make-golden.mjs
 *
 * Run it once for each number of the data format (FORMAT_VERSION in src/node/format.ts), when that has been raised, and commit what it
 * writes; the directories of earlier numbers stay as they are, and it refuses to replace one. It speaks the lowest protocol version of
 * the build. Every file is compressed by itself; locks, LevelDB's messages for people, and the space that the log keeps in reserve, 40 MiB
 * of zeroes that are made again, are left out.
 *
 * Nodes checkpoint often, so that there are tables and dropped heads of logs; what is written last is in the write-ahead logs alone, and
 * has to be replayed. Left out is the retry of a write with an idempotency key: it is kept for 24 hours, and the directory for years.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { connect } from '../dist/client/index.js';
import { PROTOCOL_MIN, TTL_MS_MAX } from '../dist/common/limits.js';
import { FORMAT_VERSION } from '../dist/node/format.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const NODES = ['n1', 'n2', 'n3'];
const PARTITIONS = 4;
const SMALL = [
  '--checkpoint-bytes',
  '65536',
  '--wal-segment-bytes',
  '65536',
  '--wal-retention-bytes',
  '65536',
];
const LEFT_OUT = /^(?:lock|LOCK|LOG|LOG\.old|RESERVE)$/;
const FILL = 300;
const FILL_ROUNDS = 3;
/** Longer than two looks at the size of the log: what was written is in tables by then. */
const CHECKPOINT_MS = 2_500;

const target = join(ROOT, 'test/golden', `format-${FORMAT_VERSION}`);
const scratch = await mkdtemp(join(tmpdir(), 'ringkeep-golden-'));
const children = [];

/** Starts a process of the cluster; resolves with its address. */
async function start(name, args) {
  const common = [
    '--data',
    join(scratch, name),
    '--listen',
    '127.0.0.1:0',
    '--protocol-max',
    `${PROTOCOL_MIN}`,
  ];
  const child = spawn(process.execPath, [join(ROOT, 'bin/ringkeep.js'), ...args, ...common, '--json'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.push(child);
  let text = '';
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (text.includes('\n')) return JSON.parse(text.split('\n')[0]).address;
  }
  throw new Error(`${name} ended before it was ready`);
}

async function killAll() {
  const running = children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
  for (const child of running) child.kill('SIGKILL');
  await Promise.all(running.map((child) => once(child, 'exit')));
}

/** Entries of the manifest: how each is read, and what comes back. */
const entries = [];

/** Writes one value, and notes it. `shown` is how the manifest has it: `value`, `base64` or `repeat` (a text so many times). */
async function put(space, key, value, shown, options) {
  const receipt = await space.put(key, value, options);
  note(space, key, { ...shown, version: receipt.version });
}

/** The client itself is its default keyspace. */
function nameOf(space) {
  return space.name ?? '';
}

/** A later note on the same key replaces an earlier one. */
function note(space, key, what) {
  const at = entries.findIndex((entry) => entry.keyspace === nameOf(space) && entry.key === key);
  const entry = { keyspace: nameOf(space), key, ...what };
  if (at < 0) entries.push(entry);
  else entries[at] = entry;
}

async function noteExpiry(space, key) {
  const { expiresAt } = await space.getEntry(key);
  entries.find((entry) => entry.keyspace === nameOf(space) && entry.key === key).expiresAt = expiresAt;
}

async function putValues(db, spaces) {
  const objects = [
    ['user:1', { name: 'Ada', tags: ['a', 'b'], born: 1815, deep: { list: [1, 2.5, null, true] } }],
    ['user:2', { name: 'Алан ☃ 世界', empty: {}, none: [] }],
    ['number', 9_007_199_254_740_991],
    ['fraction', -0.1],
    ['true', true],
    ['null', null],
    ['ключ ☃', 'a key in UTF-8'],
  ];
  for (const [key, value] of objects) await put(db, key, value, { value });
  await put(
    spaces.json,
    'order',
    { id: 7, lines: [{ sku: 'tea', amount: 2 }] },
    { value: { id: 7, lines: [{ sku: 'tea', amount: 2 }] } },
  );
  for (const [key, value] of [
    ['plain', 'text'],
    ['accents', 'grüße, мир, 世界 ☃'],
    ['empty', ''],
  ]) {
    await put(spaces.texts, key, value, { value });
  }
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  for (const [key, value] of [
    ['every', every],
    ['zeroes', Buffer.alloc(64)],
    ['none', Buffer.alloc(0)],
  ]) {
    await put(spaces.bytes, key, value, { base64: value.toString('base64') });
  }
  const repeat = { text: 'The quick brown fox jumps over the lazy dog. ', times: 8_000 };
  await put(spaces.texts, 'large', repeat.text.repeat(repeat.times), { repeat });
}

async function putLives(db) {
  for (let round = 1; round <= 5; round += 1) await put(db, 'overwritten', { round }, { value: { round } });
  for (const key of ['gone:1', 'gone:2']) {
    await db.put(key, 'will be deleted');
    await db.delete(key);
    note(db, key, { absent: true });
  }
  await db.put('back', 'first');
  await db.delete('back');
  await put(db, 'back', 'second', { value: 'second' });
  const conditional = await db.put('overwritten', 'never', { ifAbsent: true });
  if (conditional.applied) throw new Error('a condition that does not hold was applied');
  await put(db, 'far', 'for years', { value: 'for years' }, { ttlMs: TTL_MS_MAX });
  await noteExpiry(db, 'far');
  await put(db, 'kept', 'for ever', { value: 'for ever' }, { ttlMs: TTL_MS_MAX });
  const { version } = await db.persist('kept');
  note(db, 'kept', { value: 'for ever', version });
  await put(
    db,
    'once',
    'with an idempotency key',
    { value: 'with an idempotency key' },
    { idempotencyKey: 'golden' },
  );
}

async function count(db, key, deltas) {
  let last;
  for (const delta of deltas) last = await db.increment(key, delta);
  note(db, key, { counter: `${last.exact}`, version: last.version });
}

async function putCounters(db) {
  await count(db, 'visits', [1, 1, 1, 40, -1]);
  await count(db, 'large counter', [2n ** 53n, 1, 1n, 3]);
  await count(db, 'largest counter', [2n ** 63n - 1n]);
  await count(db, 'below zero', [5, -(2n ** 62n)]);
  const receipt = await db.batch([
    { type: 'put', key: 'order:{tea}:1', value: { amount: 2 } },
    { type: 'increment', key: 'sold:{tea}', delta: 2 },
    { type: 'put', key: 'order:{tea}:2', value: 'second', ifAbsent: true },
    { type: 'delete', key: 'order:{tea}:0' },
  ]);
  const { version } = receipt;
  note(db, 'order:{tea}:1', { value: { amount: 2 }, version });
  note(db, 'sold:{tea}', { counter: '2', version });
  note(db, 'order:{tea}:2', { value: 'second', version });
  note(db, 'order:{tea}:0', { absent: true });
}

/** Fills the logs beyond some checkpoints. */
async function fill(db) {
  for (let round = 1; round <= FILL_ROUNDS; round += 1) {
    const keys = Array.from({ length: FILL }, (_, at) => `fill:${at}`);
    const value = (key) => `${key}, round ${round}: ${'lorem ipsum dolor sit amet, '.repeat(6)}`;
    const results = await db.putMany(keys.map((key) => [key, value(key)]));
    for (const { key, ok, receipt } of results) {
      if (!ok) throw new Error(`${key} was not written`);
      if (round === FILL_ROUNDS) note(db, key, { value: value(key), version: receipt.version });
    }
    await delay(CHECKPOINT_MS / 2);
  }
}

/** What is in the write-ahead logs alone when everything is killed. */
async function putTail(db) {
  for (let at = 0; at < 24; at += 1)
    await put(db, `tail:${at}`, `the end, ${at}`, { value: `the end, ${at}`, tail: true });
  await put(db, 'user:2', { name: 'at the end' }, { value: { name: 'at the end' }, tail: true });
  await count(db, 'visits', [100]);
  await db.delete('fraction');
  note(db, 'fraction', { absent: true });
}

async function filesBelow(folder) {
  const found = await readdir(join(scratch, folder), { withFileTypes: true });
  const lists = found.map((entry) => {
    const path = join(folder, entry.name);
    if (LEFT_OUT.test(entry.name)) return [];
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
  return (await Promise.all(lists)).flat();
}

async function pack() {
  let bytes = 0;
  const files = (await Promise.all(['router', ...NODES].map(filesBelow))).flat();
  for (const file of files) {
    const packed = gzipSync(await readFile(join(scratch, file)), { level: 9 });
    const path = join(target, `${file}.gz`);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, packed);
    bytes += packed.length;
  }
  const manifest = { format: FORMAT_VERSION, protocol: PROTOCOL_MIN, partitions: PARTITIONS, nodes: NODES };
  const lines = entries.map((entry) => `    ${JSON.stringify(entry)}`);
  const head = JSON.stringify(manifest, null, 2).slice(0, -2);
  await writeFile(join(target, 'manifest.json'), `${head},\n  "entries": [\n${lines.join(',\n')}\n  ]\n}\n`);
  console.log(`${files.length} files, ${(bytes / 1024).toFixed(0)} KiB, ${entries.length} keys: ${target}`);
}

async function makeCluster() {
  const cluster = ['--initial-nodes', `${NODES.length}`, '--partitions', `${PARTITIONS}`];
  const router = await start('router', ['router', ...cluster]);
  await Promise.all(NODES.map((name) => start(name, ['node', '--id', name, '--router', router, ...SMALL])));
  const db = connect(`ringkeep://${router}`);
  await db.ready({ timeoutMs: 30_000 });
  const spaces = {
    texts: db.keyspace('texts', { codec: 'string' }),
    bytes: db.keyspace('bytes', { codec: 'bytes' }),
    json: db.keyspace('json', { codec: 'json' }),
  };
  await putValues(db, spaces);
  await putLives(db);
  await putCounters(db);
  await fill(db);
  await delay(CHECKPOINT_MS);
  await putTail(db);
  await killAll();
  db.destroy();
}

if (existsSync(target)) throw new Error(`${target} is there: a directory of a format stays as it was made`);
try {
  await makeCluster();
  await pack();
} finally {
  await killAll();
  await rm(scratch, { recursive: true, force: true });
}
