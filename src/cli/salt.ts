/** The commands `salt` and `unsalt`: copies of a hot key, or parts of a hot counter, on other nodes. What they have done, `status` and `hot` show later. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { RingkeepClient, SaltedKey } from '../client/index.ts';
import { SALT_COPIES_MAX } from '../common/limits.ts';
import { type ClusterOptions, count, withClient, withCluster, withKeyspace } from './common-options.ts';
import { EXIT, print, printJson } from './output.ts';

/** Copies that a key gets unless the command line says otherwise. */
const COPIES_DEFAULT = 2;

interface UnsaltFlags extends ClusterOptions {
  readonly keyspace: string;
}

interface SaltFlags extends UnsaltFlags {
  readonly copies: number;
  readonly counter?: boolean;
  readonly delta?: string;
  readonly mixed?: boolean;
}

function deltaText(text: string): string {
  if (/^-?[1-9]\d{0,18}$/.test(text)) return text;
  throw new InvalidArgumentError('It is an integer, and not 0.');
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Returns what is said of a key that was given copies, or of a counter that was given parts; `asked` is how many of them were. */
export function saltedText(
  key: string,
  { partition, copies }: SaltedKey,
  asked: number,
  [one, many]: readonly [string, string] = ['copy', 'copies'],
): string {
  const where = copies
    .map(({ node, partition: at }) => `${node ?? 'the leader'} (partition ${at})`)
    .join(', ');
  const told = counted(copies.length, one, many);
  const nodes = counted(copies.length, 'other node', 'other nodes');
  const verb = copies.length === 1 ? 'is' : 'are';
  const fewer =
    copies.length < asked ? `\n${told}, not ${asked}: there ${verb} only ${nodes} that can hold one` : '';
  return `salted ${key} (partition ${partition}): ${told}, at ${where}${fewer}`;
}

/** Salts as the flags say. */
function salt({ admin }: RingkeepClient, key: string, flags: SaltFlags): Promise<SaltedKey> {
  const { copies, counter = false, delta, mixed = false } = flags;
  const options = { ...keyspaceOf(flags), copies };
  if (!counter) return admin.salt(key, options);
  if (mixed) return admin.saltCounter(key, { ...options, delta: 'mixed' });
  return admin.saltCounter(key, { ...options, delta: BigInt(delta ?? '1') });
}

const keyspaceOf = ({ keyspace }: UnsaltFlags): { keyspace?: string } =>
  keyspace === '' ? {} : { keyspace };

/** Adds the commands `salt` and `unsalt`. `done` is told the exit status. */
export function addSaltCommands(program: Command, done: (status: number) => void): void {
  const saltCommand = program
    .command('salt')
    .description('spread the reads of a hot key over copies on other nodes');
  withKeyspace(withCluster(saltCommand))
    .argument('<key>')
    .option(
      '--copies <n>',
      'copies beside the key itself, each on a node of its own',
      count(1, SALT_COPIES_MAX),
      COPIES_DEFAULT,
    )
    .option('--counter', 'spread the increments of a counter over parts instead; reads sum them')
    .addOption(new Option('--delta <n>', 'what every increment of it adds (default: 1)').argParser(deltaText))
    .addOption(
      new Option('--mixed', 'its increments add anything: its sum is not linearizable then').conflicts(
        'delta',
      ),
    )
    .addHelpText(
      'after',
      '\nReads stay linearizable. A write of the key waits until its copies are gone; they come back when it is quiet.\n\nExample:\n  ringkeep salt front-page --copies 2\n  ringkeep salt visits --counter --delta 1\n',
    )
    .action(async (key: string, flags: SaltFlags) => {
      const { copies: asked, counter = false } = flags;
      if (!counter && (flags.delta !== undefined || flags.mixed === true))
        saltCommand.error('error: --delta and --mixed are of counters: add --counter');
      const salted = await withClient(flags, (client) => salt(client, key, flags));
      const names = counter ? (['part', 'parts'] as const) : undefined;
      if (flags.json) await printJson({ key, asked, ...salted });
      else await print(saltedText(key, salted, asked, names));
      done(EXIT.OK);
    });
  const unsaltCommand = program.command('unsalt').description('make a key one like any other again');
  withKeyspace(withCluster(unsaltCommand))
    .argument('<key>')
    .addHelpText('after', '\nExample:\n  ringkeep unsalt front-page\n')
    .action(async (key: string, flags: UnsaltFlags) => {
      const salted = await withClient(flags, (client) => client.admin.unsalt(key, keyspaceOf(flags)));
      if (flags.json) await printJson({ key, ...salted });
      else await print(`unsalted ${key} (partition ${salted.partition}): it is one like any other`);
      done(EXIT.OK);
    });
}
