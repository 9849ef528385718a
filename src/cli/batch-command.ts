/**
 * The command `batch`: several operations on keys of one hash tag, all or nothing, from lines of JSON. Values are stored with the
 * codec `json`.
 */
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import type { Ack, BatchOperation, BatchReceipt } from '../client/index.ts';
import { RingkeepError } from '../common/errors.ts';
import { toJson } from '../common/text.ts';
import { type ClusterOptions, withClient, withCluster, withKeyspace } from './common-options.ts';
import { ackOption, ackOptions, durable, idempotencyOption } from './key-commands.ts';
import { EXIT, note, print } from './output.ts';

interface BatchFlags extends ClusterOptions {
  readonly keyspace: string;
  readonly ack?: Ack;
  readonly idempotencyKey?: string;
}

const HELP = `
Each line is one operation: put (value, ttlMs), delete, increment (delta, ttlMs) or check, with a key, and but for increments
with ifAbsent, ifExists or ifVersion if it has a condition. All keys have the same {tag}.

Example:
  ringkeep batch - <<END
  {"type":"increment","key":"stock:{tea}","delta":-2}
  {"type":"put","key":"order:{tea}:7","value":{"amount":2},"ifAbsent":true}
  END
`;

/** Reads one operation per line; what is wrong with them the SDK says. */
function operationsOf(lines: string): BatchOperation[] {
  const operations: BatchOperation[] = [];
  for (const [at, line] of lines.split('\n').entries()) {
    if (line.trim() === '') continue;
    try {
      operations.push(JSON.parse(line) as BatchOperation);
    } catch {
      throw new RingkeepError('INVALID_ARGUMENT', `line ${at + 1} is not JSON`);
    }
  }
  return operations;
}

async function show(operations: readonly BatchOperation[], receipt: BatchReceipt): Promise<void> {
  const { applied, version, durability, results } = receipt;
  if (applied) await print(`wrote ${operations.length} keys (version ${version}, on ${durable(durability)})`);
  for (const [at, { key, type }] of operations.entries()) {
    const { failed, version: held, exact } = results[at]!;
    if (failed) note(`not written: ${key} ${held === 0 ? 'is absent' : `has version ${held}`}`);
    else if (applied && type === 'increment' && exact !== null) await print(`${key} ${exact}`);
  }
}

async function batch(file: string, flags: BatchFlags): Promise<number> {
  const operations = operationsOf(file === '-' ? await text(process.stdin) : await readFile(file, 'utf8'));
  return withClient(
    flags,
    async (client) => {
      const target = flags.keyspace === '' ? client : client.keyspace(flags.keyspace);
      const receipt = await target.batch(operations, ackOptions(flags));
      if (flags.json) await print(toJson({ ...receipt, session: client.defaultSession.token }));
      else await show(operations, receipt);
      return receipt.applied ? EXIT.OK : EXIT.FAILED;
    },
    { codec: 'json' },
  );
}

/** Adds the command `batch`. `done` is told the exit status. */
export function addBatchCommand(program: Command, done: (status: number) => void): void {
  const command = program
    .command('batch')
    .description('write several keys of one hash tag, all or nothing; status 1 if a condition fails');
  withKeyspace(withCluster(command))
    .argument('<file>', 'lines of JSON; - reads them from stdin')
    .addOption(ackOption())
    .addOption(idempotencyOption())
    .addHelpText('after', HELP)
    .action(async (file: string, flags: BatchFlags) => done(await batch(file, flags)));
}
