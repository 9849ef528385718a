/** The command `waldump`: what a node's write-ahead log holds, for people who look into trouble. Read-only. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { RingkeepError } from '../common/errors.ts';
import { NodeDisk } from '../common/node-disk.ts';
import { type DumpLine, dumpWal } from '../node/wal/dump.ts';
import { count, withJson } from './common-options.ts';
import { EXIT, print } from './output.ts';

interface WaldumpFlags {
  readonly partition?: number;
  readonly json: boolean;
}

const WAL_NAME = 'wal';
const PARTITION_CEILING = 0xffff_fffe;

function mark(line: DumpLine & { kind: 'record' }): string {
  if (line.meta !== undefined) {
    const { replica, promiseEpoch, configuration, voters, baseIndex } = line.meta;
    const nodes = voters.map(({ node }) => node).join(' ');
    return ` replica ${replica} promise ${promiseEpoch} configuration ${configuration} voters [${nodes}] base ${baseIndex}`;
  }
  return line.type === 'entry' ? ` ${line.payloadBytes} bytes${line.copy ? ' (copy)' : ''}` : '';
}

/** Returns a line of the dump for people. */
export function dumpText(line: DumpLine): string {
  switch (line.kind) {
    case 'manifest':
      return `manifest salt ${line.salt} durable lsn ${line.durableLsn}${line.problem === null ? '' : ` PROBLEM ${line.problem}`}`;
    case 'segment':
      return `segment ${line.segment} base lsn ${line.baseLsn}, ${line.bytes} bytes`;
    case 'bad':
      return `  ${line.offset} BAD ${line.length} bytes: ${line.reason}`;
    case 'record': {
      const where = line.partition === null ? '' : ` partition ${line.partition}`;
      const place = line.type === 'mark' ? '' : ` index ${line.index} epoch ${line.epoch}`;
      return `  ${line.offset} lsn ${line.lsn} ${line.type}${where}${place}${mark(line)}`;
    }
  }
}

function concerns(line: DumpLine, partition: number | undefined): boolean {
  return partition === undefined || line.kind !== 'record' || line.partition === partition;
}

/** Finds the log in a node's data directory, or in the log's own directory. */
function locate(directory: string): { readonly disk: NodeDisk; readonly wal: string } {
  const path = resolve(directory);
  if (existsSync(join(path, WAL_NAME))) return { disk: new NodeDisk(path), wal: WAL_NAME };
  if (basename(path) === WAL_NAME && existsSync(path)) {
    return { disk: new NodeDisk(dirname(path)), wal: WAL_NAME };
  }
  throw new RingkeepError('INVALID_ARGUMENT', `${directory} is no data directory of a node: there is no log`);
}

/** Adds the command `waldump`. `done` is told its exit status: 1 if there are bytes that are no record. */
export function addWaldumpCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('waldump').description("print a node's write-ahead log; changes nothing");
  withJson(command)
    .argument('<dir>', 'data directory of a node')
    .option('--partition <n>', 'records of this partition only', count(0, PARTITION_CEILING))
    .addHelpText(
      'after',
      '\nThe status is 1 if any bytes are no record; the end of a log that is in use may look so.\n' +
        '\nExample:\n  ringkeep waldump ringkeep-data/n1 --partition 7\n',
    )
    .action(async (directory: string, flags: WaldumpFlags) => {
      const { disk, wal } = locate(directory);
      let bad = false;
      for (const line of dumpWal(disk, wal)) {
        if (line.kind === 'bad' || (line.kind === 'manifest' && line.problem !== null)) bad = true;
        if (concerns(line, flags.partition)) await print(flags.json ? JSON.stringify(line) : dumpText(line));
      }
      done(bad ? EXIT.FAILED : EXIT.OK);
    });
}
