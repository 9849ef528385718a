/**
 * The commands `put`, `get`, `incr`, `add` and `del`: one key each, through the SDK. How text becomes a value is values.ts.
 * INVARIANT: bytes read from stdin are stored as they are, and `get` prints bytes as they are stored, with nothing added.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type {
  Ack,
  ConditionalOptions,
  IdempotentOptions,
  Keyspace,
  ReadLevel,
  ReadOptions,
  Receipt,
  RingkeepClient,
} from '../client/index.ts';
import { TTL_MS_MAX, VALUE_BYTES_CEILING } from '../common/limits.ts';
import { isInt64, toJson } from '../common/text.ts';
import { ACK_LEVELS, type ClusterOptions, withClient, withCluster, withKeyspace } from './common-options.ts';
import { EXIT, note, print, printJson, write } from './output.ts';
import { type EncodedValue, encodeInput, type InputCodec, parseCodec } from './values.ts';

interface KeyFlags extends ClusterOptions {
  readonly keyspace: string;
}

interface GetFlags extends KeyFlags {
  readonly read: ReadLevel;
  readonly maxStaleness?: number;
  readonly session?: string;
}

interface AckFlags extends KeyFlags {
  readonly ack?: Ack;
  readonly idempotencyKey?: string;
}

interface WriteFlags extends AckFlags {
  readonly ifAbsent?: boolean;
  readonly ifExists?: boolean;
  readonly ifVersion?: number;
}

interface IncrementFlags extends AckFlags {
  readonly by: bigint;
}

interface PutFlags extends WriteFlags {
  readonly ttl?: number;
  readonly codec?: InputCodec;
}

/** The operations that the default keyspace and named ones share. */
export type KeyOperations = Pick<
  Keyspace,
  'getEntry' | 'delete' | 'putEncoded' | 'increment' | 'add' | 'expire' | 'persist'
>;

/** Returns a keyspace's operations; the empty name is the default keyspace. */
export function operationsOn(client: RingkeepClient, keyspace: string): KeyOperations {
  return keyspace === '' ? client : client.keyspace(keyspace);
}

/** The option `--ack`. */
export function ackOption(): Option {
  const text =
    'acknowledge when it is on the disks of the leader, of a quorum, or of all voters (default: as `ringkeep ack` tells)';
  return new Option('--ack <level>', text).choices(ACK_LEVELS);
}

/** The level that a command was given, as the SDK takes it. */
export function ackOf({ ack }: { readonly ack?: Ack }): { readonly ack?: Ack } {
  return ack === undefined ? {} : { ack };
}

/** The option `--idempotency-key`. */
export function idempotencyOption(): Option {
  const text = 'a name of this write of this key: repeated within a day, it is told the first result';
  return new Option('--idempotency-key <key>', text);
}

/** Adds the options of a write. */
function withWrite(command: Command): Command {
  return command.addOption(ackOption()).addOption(idempotencyOption());
}

async function readInput(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of process.stdin) {
    chunks.push(chunk);
    length += chunk.length;
    // Far enough to be refused as too large, and no further.
    if (length > 2 * VALUE_BYTES_CEILING) break;
  }
  return Buffer.concat(chunks);
}

const VERSION_TEXT = 'only if it holds the value of this version, as `get --json` tells it';

/** Adds the options of a condition. */
function withConditions(command: Command): Command {
  return command
    .addOption(new Option('--if-absent', 'only if the key is absent').conflicts(['ifExists', 'ifVersion']))
    .addOption(new Option('--if-exists', 'only if the key has a value').conflicts(['ifVersion']))
    .addOption(new Option('--if-version <version>', VERSION_TEXT).argParser(parseVersion));
}

function parseVersion(text: string): number {
  const version = Number(text);
  if (/^[1-9]\d*$/.test(text) && Number.isSafeInteger(version)) return version;
  throw new InvalidArgumentError('A version is a whole number from 1.');
}

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

function parseTtl(text: string): number {
  const [, digits, unit = ''] = /^(\d{1,15})(ms|s|m|h|d)$/.exec(text) ?? [];
  const ms = Number(digits) * (UNITS_MS[unit] ?? Number.NaN);
  if (ms >= 1 && ms <= TTL_MS_MAX) return ms;
  throw new InvalidArgumentError(
    'A time to live is a number with its unit, as in 500ms, 30s, 15m, 2h or 7d.',
  );
}

function parseDelta(text: string): bigint {
  if (/^-?\d{1,19}$/.test(text) && isInt64(BigInt(text))) return BigInt(text);
  throw new InvalidArgumentError('A delta is a whole number of 64 bits.');
}

/** The level and the idempotency key that a command was given, as the SDK takes them. */
export function ackOptions({ idempotencyKey, ...flags }: AckFlags): IdempotentOptions {
  return { ...ackOf(flags), ...(idempotencyKey === undefined ? {} : { idempotencyKey }) };
}

/** The options of a write as the SDK takes them. */
function writeOptions({ ifAbsent, ifExists, ifVersion, ...flags }: WriteFlags): ConditionalOptions {
  return {
    ...ackOptions(flags),
    ...(ifAbsent === undefined ? {} : { ifAbsent }),
    ...(ifExists === undefined ? {} : { ifExists }),
    ...(ifVersion === undefined ? {} : { ifVersion }),
  };
}

function byOption(): Option {
  return new Option('--by <delta>', 'what is added, an integer of 64 bits')
    .default(1n, '1')
    .argParser(parseDelta);
}

function addCounterCommands(program: Command, done: (status: number) => void): void {
  const incrementCommand = program.command('incr').description('add to a counter and print it');
  withWrite(withKeyspace(withCluster(incrementCommand)))
    .argument('<key>')
    .addOption(byOption())
    .addHelpText('after', '\nExamples:\n  ringkeep incr visits\n  ringkeep incr stock:7 --by -3\n')
    .action(async (key: string, flags: IncrementFlags) => {
      await withClient(flags, async (client) => {
        const operations = operationsOn(client, flags.keyspace);
        const { exact, ...receipt } = await operations.increment(key, flags.by, ackOptions(flags));
        if (flags.json)
          await print(toJson({ key, ...receipt, value: exact, session: client.defaultSession.token }));
        else await print(String(exact));
      });
      done(EXIT.OK);
    });

  const addCommand = program
    .command('add')
    .description('add to a counter, which may be salted, without printing it');
  withWrite(withKeyspace(withCluster(addCommand)))
    .argument('<key>')
    .addOption(byOption())
    .addHelpText('after', '\nExample:\n  ringkeep add visits\n')
    .action(async (key: string, flags: IncrementFlags) => {
      await withClient(flags, async (client) => {
        const receipt = await operationsOn(client, flags.keyspace).add(key, flags.by, ackOptions(flags));
        const { durability, repeated } = receipt;
        if (flags.json) await printJson({ key, ...receipt, session: client.defaultSession.token });
        else
          await print(`${repeated ? 'before: ' : ''}added ${flags.by} to ${key} (on ${durable(durability)})`);
      });
      done(EXIT.OK);
    });
}

/** Shows what became of a write and returns the exit status: 1 if its condition did not hold. */
async function showReceipt(
  client: RingkeepClient,
  key: string,
  receipt: Receipt,
  verb: 'wrote' | 'deleted' | 'changed',
  json: boolean,
): Promise<number> {
  const { applied, version, durability } = receipt;
  if (json) await printJson({ key, ...receipt, session: client.defaultSession.token });
  else if (applied)
    await print(
      `${receipt.repeated ? 'before: ' : ''}${verb} ${key} (version ${version}, on ${durable(durability)})`,
    );
  else
    note(
      `not ${verb === 'wrote' ? 'written' : verb}: ${key} ${version === 0 ? 'is absent' : `has version ${version}`}`,
    );
  return applied ? EXIT.OK : EXIT.FAILED;
}

/** Says what holds a write. */
export function durable(level: Receipt['durability']): string {
  return { leader: "the leader's disk", quorum: 'a quorum of disks', all: 'all disks' }[level];
}

async function put(key: string, value: EncodedValue, flags: PutFlags): Promise<number> {
  return withClient(flags, async (client) => {
    const operations = operationsOn(client, flags.keyspace);
    const living = flags.ttl === undefined ? {} : { ttlMs: flags.ttl };
    const options = { ...writeOptions(flags), ...living };
    const receipt = await operations.putEncoded(key, value.bytes, value.codec, options);
    return showReceipt(client, key, receipt, 'wrote', flags.json);
  });
}

function readOptions(client: RingkeepClient, { read, maxStaleness, session }: GetFlags): ReadOptions {
  return {
    read,
    ...(maxStaleness === undefined ? {} : { maxStalenessMs: maxStaleness }),
    ...(session === undefined ? {} : { session: client.session(session) }),
  };
}

async function get(key: string, flags: GetFlags): Promise<number> {
  return withClient(flags, async (client) => {
    const operations = operationsOn(client, flags.keyspace);
    const entry = await operations.getEntry(key, readOptions(client, flags));
    if (entry === undefined) {
      if (flags.json) await printJson({ key, found: false });
      else note(`${key} is absent`);
      return EXIT.FAILED;
    }
    const { value, version, epoch, partition, expiresAt, stalenessMs } = entry;
    const expiry = expiresAt === null ? '' : `,"expiresAt":${expiresAt}`;
    const age = stalenessMs === null ? '' : `,"stalenessMs":${stalenessMs}`;
    const where = `"version":${version},"epoch":${epoch},"partition":${partition}${expiry}${age}`;
    if (flags.json)
      await print(`{"key":${JSON.stringify(key)},"found":true,"value":${toJson(value)},${where}}`);
    else if (value instanceof Uint8Array) await write(value);
    else await print(typeof value === 'string' ? value : toJson(value));
    return EXIT.OK;
  });
}

function addGetCommand(program: Command, done: (status: number) => void): void {
  const getCommand = program.command('get').description('print the value of a key; status 1 if it is absent');
  withKeyspace(withCluster(getCommand))
    .argument('<key>')
    .addOption(
      new Option('--read <level>', 'how fresh the answer is')
        .choices(['linearizable', 'quorum', 'session', 'stale'])
        .default('linearizable'),
    )
    .addOption(
      new Option('--max-staleness <time>', 'with --read stale: how old it may be').argParser(parseTtl),
    )
    .addOption(
      new Option('--session <token>', 'with --read session: what it has seen, as `put --json` tells it'),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  ringkeep get user:1\n  ringkeep get photo:1 > photo.jpg\n  ringkeep get user:1 --read stale --max-staleness 500ms\n',
    )
    .action(async (key: string, flags: GetFlags) => done(await get(key, flags)));
}

function addLivingCommands(program: Command, done: (status: number) => void): void {
  const touch = async (key: string, flags: WriteFlags, ttlMs: number | null): Promise<void> => {
    const status = await withClient(flags, async (client) => {
      const operations = operationsOn(client, flags.keyspace);
      const { ifVersion } = flags;
      const options = { ...ackOptions(flags), ...(ifVersion === undefined ? {} : { ifVersion }) };
      const receipt = await (ttlMs === null
        ? operations.persist(key, options)
        : operations.expire(key, ttlMs, options));
      return showReceipt(client, key, receipt, 'changed', flags.json);
    });
    done(status);
  };
  const version = new Option('--if-version <version>', VERSION_TEXT).argParser(parseVersion);
  const expireCommand = program.command('expire').description('let what a key holds go after a time');
  withWrite(withKeyspace(withCluster(expireCommand)))
    .argument('<key>')
    .argument('<time>', 'as in 500ms, 30s, 15m, 2h or 7d', parseTtl)
    .addOption(version)
    .addHelpText('after', '\nExample:\n  ringkeep expire session:1 30m\n')
    .action((key: string, ttlMs: number, flags: WriteFlags) => touch(key, flags, ttlMs));
  const persistCommand = program
    .command('persist')
    .description('let what a key holds stay, whatever time it had');
  withWrite(withKeyspace(withCluster(persistCommand)))
    .argument('<key>')
    .addOption(version)
    .addHelpText('after', '\nExample:\n  ringkeep persist session:1\n')
    .action((key: string, flags: WriteFlags) => touch(key, flags, null));
}

/** Adds the commands `put`, `get` and `del`. `done` is told the exit status. */
export function addKeyCommands(program: Command, done: (status: number) => void): void {
  const putCommand = program.command('put').description('write a value');
  withWrite(withConditions(withKeyspace(withCluster(putCommand))))
    .argument('<key>')
    .argument('<value>', 'the value; - reads it from stdin')
    .option(
      '--codec <codec>',
      'msgpack, json, string or bytes (default: json if the value is JSON, else string, else bytes)',
      parseCodec,
    )
    .addOption(new Option('--ttl <time>', 'let it go after a time, as in 30s, 15m or 7d').argParser(parseTtl))
    .addHelpText(
      'after',
      '\nExamples:\n  ringkeep put user:1 \'{"name":"Ada"}\'\n  ringkeep put photo:1 - --codec bytes < photo.jpg\n  ringkeep put lock:1 me --if-absent\n',
    )
    .action(async (key: string, text: string, flags: PutFlags) => {
      const input = text === '-' ? await readInput() : Buffer.from(text, 'utf8');
      done(await put(key, encodeInput(input, flags.codec ?? 'auto'), flags));
    });

  addGetCommand(program, done);
  addCounterCommands(program, done);
  addLivingCommands(program, done);
  const deleteCommand = program.command('del').alias('delete').description('delete a key');
  withWrite(withConditions(withKeyspace(withCluster(deleteCommand))))
    .argument('<key>')
    .addHelpText('after', '\nExample:\n  ringkeep del user:1\n')
    .action(async (key: string, flags: WriteFlags) => {
      const status = await withClient(flags, async (client) => {
        const receipt = await operationsOn(client, flags.keyspace).delete(key, writeOptions(flags));
        return showReceipt(client, key, receipt, 'deleted', flags.json);
      });
      done(status);
    });
}
