/**
 * The command `export`: every value of a keyspace as JSON Lines, partition after partition. Each page is a
 * linearizable read; all of them together are no snapshot.
 * INVARIANT: a file has its name only once it is complete.
 */
import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { CODEC_TAGS, decodeValue, type RingkeepClient, type ScanRow } from '../client/index.ts';
import { keyJson, textOf, toJson } from '../common/text.ts';
import { type ClusterOptions, withClient, withCluster, withKeyspace } from './common-options.ts';
import { EXIT, note, write } from './output.ts';

interface ExportFlags extends ClusterOptions {
  readonly keyspace: string;
  readonly withKeys: boolean;
}

/** One partition's page may have to wait for a failover. */
const TIMEOUT_MS = 60_000;

/** Returns a row's value as one line of JSON. What was stored as JSON is not re-formatted. */
export function valueLine(row: ScanRow): string {
  if (row.codec === CODEC_TAGS.json) {
    const text = textOf(row.value);
    // JSON has line ends between its tokens only, so a space does as well.
    if (text !== null) return text.replaceAll(/[\r\n]+/g, ' ');
  }
  return toJson(decodeValue(row.codec, row.value));
}

/** Returns a row as one line. */
export function rowLine(row: ScanRow, withKeys: boolean): string {
  const value = valueLine(row);
  return withKeys ? `{"key":${keyJson(row.key)},"value":${value},"version":${row.version}}` : value;
}

async function* exportLines(client: RingkeepClient, flags: ExportFlags): AsyncGenerator<string> {
  const partitions = await client.partitions();
  for (let partition = 0; partition < partitions; partition++) {
    for await (const page of client.scan({ partition, keyspace: flags.keyspace })) {
      if (page.rows.length === 0) continue;
      yield page.rows.map((row) => `${rowLine(row, flags.withKeys)}\n`).join('');
    }
  }
}

async function isSpecial(path: string): Promise<boolean> {
  try {
    return !(await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function writeFileWhole(path: string, pieces: AsyncIterable<string>): Promise<void> {
  // A device or pipe has no name to be moved to.
  const direct = await isSpecial(path);
  const target = direct ? path : `${path}.part`;
  const stream = createWriteStream(target, { flush: !direct });
  const failed = new Promise<never>((_, reject) => stream.on('error', reject));
  failed.catch(() => {});
  try {
    for await (const piece of pieces) {
      if (stream.write(piece)) continue;
      await Promise.race([new Promise<void>((resolve) => stream.once('drain', resolve)), failed]);
    }
    await Promise.race([new Promise<void>((resolve) => stream.end(resolve)), failed]);
    if (!direct) await rename(target, path);
  } catch (error) {
    stream.destroy();
    if (!direct) await rm(target, { force: true });
    throw error;
  }
}

async function runExport(file: string, flags: ExportFlags): Promise<void> {
  await withClient(flags, async (client) => {
    let rows = 0;
    const counted = async function* () {
      for await (const piece of exportLines(client, flags)) {
        for (let at = piece.indexOf('\n'); at >= 0; at = piece.indexOf('\n', at + 1)) rows++;
        yield piece;
      }
    };
    if (file !== '-') await writeFileWhole(file, counted());
    else for await (const piece of counted()) await write(piece);
    if (flags.json) note(JSON.stringify({ event: 'exported', rows }));
    else if (file !== '-') note(`exported ${rows.toLocaleString('en')} values to ${file}`);
  });
}

/** Adds the command `export`. `done` is told its exit status. */
export function addExportCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('export').description('print the values of a keyspace as JSON Lines');
  withKeyspace(withCluster(command, TIMEOUT_MS))
    .argument('[file]', 'where to write; - is stdout', '-')
    .option('--with-keys', 'print {"key", "value", "version"} instead of the value alone', false)
    .addHelpText(
      'after',
      '\nThe output is always JSON Lines; --json adds a last line on stderr with the number of rows.\n' +
        'Bytes are printed as {"$base64": "..."}.\n' +
        '\nExamples:\n  ringkeep export users.jsonl --keyspace users\n  ringkeep export --with-keys | head\n',
    )
    .action(async (file: string, flags: ExportFlags) => {
      await runExport(file, flags);
      done(EXIT.OK);
    });
}
