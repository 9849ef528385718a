/** The commands `salt` and `unsalt`: copies of a hot key on other nodes. What they have done, `status` and `hot` show later. */
import type { Command } from 'commander';
import type { SaltedKey } from '../client/index.ts';
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
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Returns what is said of a key that was given copies; `asked` is how many of them were. */
export function saltedText(key: string, { partition, copies }: SaltedKey, asked: number): string {
  const where = copies
    .map(({ node, partition: at }) => `${node ?? 'the leader'} (partition ${at})`)
    .join(', ');
  const told = counted(copies.length, 'copy', 'copies');
  const nodes = counted(copies.length, 'other node', 'other nodes');
  const verb = copies.length === 1 ? 'is' : 'are';
  const fewer =
    copies.length < asked ? `\n${told}, not ${asked}: there ${verb} only ${nodes} that can hold one` : '';
  return `salted ${key} (partition ${partition}): ${told}, at ${where}${fewer}`;
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
    .addHelpText(
      'after',
      '\nReads stay linearizable. A write of the key waits until its copies are gone; they come back when it is quiet.\n\nExample:\n  ringkeep salt front-page --copies 2\n',
    )
    .action(async (key: string, flags: SaltFlags) => {
      const { copies: asked } = flags;
      const options = { ...keyspaceOf(flags), copies: asked };
      const salted = await withClient(flags, (client) => client.admin.salt(key, options));
      if (flags.json) await printJson({ key, asked, ...salted });
      else await print(saltedText(key, salted, asked));
      done(EXIT.OK);
    });
  const unsaltCommand = program.command('unsalt').description('make a key one like any other again');
  withKeyspace(withCluster(unsaltCommand))
    .argument('<key>')
    .addHelpText('after', '\nExample:\n  ringkeep unsalt front-page\n')
    .action(async (key: string, flags: UnsaltFlags) => {
      const salted = await withClient(flags, (client) => client.admin.unsalt(key, keyspaceOf(flags)));
      if (flags.json) await printJson({ key, ...salted });
      else await print(`unsalted ${key} (partition ${salted.partition}): it has no copies`);
      done(EXIT.OK);
    });
}
