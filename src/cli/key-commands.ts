/**
 * The commands `put`, `get` and `del`: one key each, through the SDK. How text becomes a value is values.ts.
 * INVARIANT: bytes read from stdin are stored as they are, and `get` prints bytes as they are stored, with nothing added.
 */
import { type Command, Option } from 'commander';
import type { Ack, Keyspace, Receipt, RingkeepClient } from '../client/index.ts';
import { VALUE_BYTES_CEILING } from '../common/limits.ts';
import { toJson } from '../common/text.ts';
import { type ClusterOptions, withClient, withCluster, withKeyspace } from './common-options.ts';
import { EXIT, note, print, printJson, write } from './output.ts';
import { type EncodedValue, encodeInput, type InputCodec, parseCodec } from './values.ts';

interface KeyFlags extends ClusterOptions {
  readonly keyspace: string;
}

interface WriteFlags extends KeyFlags {
  readonly ack: Ack;
}

interface PutFlags extends WriteFlags {
  readonly codec?: InputCodec;
}

/** The operations that the default keyspace and named ones share. */
export type KeyOperations = Pick<Keyspace, 'getEntry' | 'delete' | 'putEncoded'>;

/** Returns a keyspace's operations; the empty name is the default keyspace. */
export function operationsOn(client: RingkeepClient, keyspace: string): KeyOperations {
  return keyspace === '' ? client : client.keyspace(keyspace);
}

/** The option `--ack`. */
export function ackOption(): Option {
  const text = 'acknowledge when it is on the disks of the leader, of a quorum, or of all voters';
  return new Option('--ack <level>', text).choices(['leader', 'quorum', 'all']).default('quorum');
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

async function showReceipt(key: string, receipt: Receipt, verb: string, json: boolean): Promise<void> {
  if (json) await printJson({ key, ...receipt });
  else await print(`${verb} ${key} (version ${receipt.version}, on ${durable(receipt.durability)})`);
}

function durable(level: Receipt['durability']): string {
  return { leader: "the leader's disk", quorum: 'a quorum of disks', all: 'all disks' }[level];
}

async function put(key: string, value: EncodedValue, flags: PutFlags): Promise<void> {
  await withClient(flags, async (client) => {
    const operations = operationsOn(client, flags.keyspace);
    const receipt = await operations.putEncoded(key, value.bytes, value.codec, { ack: flags.ack });
    await showReceipt(key, receipt, 'wrote', flags.json);
  });
}

async function get(key: string, flags: KeyFlags): Promise<number> {
  return withClient(flags, async (client) => {
    const entry = await operationsOn(client, flags.keyspace).getEntry(key);
    if (entry === undefined) {
      if (flags.json) await printJson({ key, found: false });
      else note(`${key} is absent`);
      return EXIT.FAILED;
    }
    const { value, version, epoch, partition } = entry;
    const where = `"version":${version},"epoch":${epoch},"partition":${partition}`;
    if (flags.json)
      await print(`{"key":${JSON.stringify(key)},"found":true,"value":${toJson(value)},${where}}`);
    else if (value instanceof Uint8Array) await write(value);
    else await print(typeof value === 'string' ? value : toJson(value));
    return EXIT.OK;
  });
}

/** Adds the commands `put`, `get` and `del`. `done` is told the exit status. */
export function addKeyCommands(program: Command, done: (status: number) => void): void {
  const putCommand = program.command('put').description('write a value');
  withKeyspace(withCluster(putCommand))
    .argument('<key>')
    .argument('<value>', 'the value; - reads it from stdin')
    .option(
      '--codec <codec>',
      'msgpack, json, string or bytes (default: json if the value is JSON, else string, else bytes)',
      parseCodec,
    )
    .addOption(ackOption())
    .addHelpText(
      'after',
      '\nExamples:\n  ringkeep put user:1 \'{"name":"Ada"}\'\n  ringkeep put photo:1 - --codec bytes < photo.jpg\n',
    )
    .action(async (key: string, text: string, flags: PutFlags) => {
      const input = text === '-' ? await readInput() : Buffer.from(text, 'utf8');
      await put(key, encodeInput(input, flags.codec ?? 'auto'), flags);
      done(EXIT.OK);
    });

  const getCommand = program.command('get').description('print the value of a key; status 1 if it is absent');
  withKeyspace(withCluster(getCommand))
    .argument('<key>')
    .addHelpText('after', '\nExamples:\n  ringkeep get user:1\n  ringkeep get photo:1 > photo.jpg\n')
    .action(async (key: string, flags: KeyFlags) => done(await get(key, flags)));

  const deleteCommand = program.command('del').alias('delete').description('delete a key');
  withKeyspace(withCluster(deleteCommand))
    .argument('<key>')
    .addOption(ackOption())
    .addHelpText('after', '\nExample:\n  ringkeep del user:1\n')
    .action(async (key: string, flags: WriteFlags) => {
      await withClient(flags, async (client) => {
        const receipt = await operationsOn(client, flags.keyspace).delete(key, { ack: flags.ack });
        await showReceipt(key, receipt, 'deleted', flags.json);
      });
      done(EXIT.OK);
    });
}
