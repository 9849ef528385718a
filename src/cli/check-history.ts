/**
 * The command `check-history`: reads a history, lets src/check judge it, and says what came of it: as text, as JSON, and as
 * a page. What a history is stands in docs/HISTORIES.md.
 * INVARIANT: the status is 0 only if every key was decided and is linearizable.
 */
import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { CHECK_TIMEOUT_MS, type CheckReport, checkHistory } from '../check/check.ts';
import {
  describeAnswer,
  describeCall,
  describeCount,
  describeKey,
  describeTimes,
} from '../check/describe.ts';
import { readHistory } from '../check/history-file.ts';
import type { Illegal, KeyReport } from '../check/key-check.ts';
import { renderTimeline } from '../check/timeline.ts';
import type { HistoryEvent } from '../common/history.ts';
import { toJson } from '../common/text.ts';
import { withJson } from './common-options.ts';
import { EXIT, print, showError } from './output.ts';

interface CheckFlags {
  readonly html?: string;
  readonly timeout: number;
  readonly json: boolean;
}

/** Keys of each result that are named; the page and --json have more. */
const NAMED_MAX = 20;
const SECONDS_MAX = 86_400;

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value > 0 && value <= SECONDS_MAX) return value;
  throw new InvalidArgumentError(`It must be a number of seconds, above 0 and at most ${SECONDS_MAX}.`);
}

async function readEvents(file: string): Promise<HistoryEvent[]> {
  const chunks: AsyncIterable<Uint8Array> = file === '-' ? process.stdin : createReadStream(file);
  const events: HistoryEvent[] = [];
  for await (const event of readHistory(chunks)) events.push(event);
  return events;
}

function illegalLines({ events, order, stuck, reason }: Illegal): string[] {
  const start = Math.min(...events.map(({ call }) => call));
  const rows = events.map((event, position) => {
    const place = order.indexOf(position);
    const mark = position === stuck ? '✗' : place >= 0 ? `${place + 1}` : '';
    return [mark, event.client, describeCall(event), describeAnswer(event), describeTimes(event, start)];
  });
  const widths = [0, 1, 2, 3].map((at) => Math.max(...rows.map((row) => row[at]!.length)));
  const padded = rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return [`  ${reason}; the smallest illegal sub-history found:`, ...padded.map((row) => `    ${row}`)];
}

function keyLine({ keyspace, key, result, operations, elapsedMs, unknown }: KeyReport): string {
  const why = unknown === undefined ? '' : `: ${unknown}`;
  return `${describeKey(keyspace, key)}: ${result}, ${describeCount(operations, 'operation')}, ${elapsedMs.toFixed(1)} ms${why}`;
}

/** Returns a report as lines for people. */
export function reportLines({ result, keys, operations, elapsedMs }: CheckReport): string[] {
  const lines: string[] = [];
  for (const kind of ['illegal', 'unknown', 'ok'] as const) {
    const some = keys.filter((key) => key.result === kind);
    for (const key of some.slice(0, NAMED_MAX)) {
      lines.push(keyLine(key), ...(key.illegal === undefined ? [] : illegalLines(key.illegal)));
    }
    const more = some.length - NAMED_MAX;
    if (more > 0) lines.push(`… and ${describeCount(more, 'more key')}: ${kind}`);
  }
  const time = `${(elapsedMs / 1_000).toFixed(1)} s`;
  const count = `${describeCount(operations, 'operation')} on ${describeCount(keys.length, 'key')}`;
  return [...lines, `${result}: ${count} checked in ${time}`];
}

async function check(file: string, flags: CheckFlags): Promise<number> {
  const events = await readEvents(file);
  const report = await checkHistory(events, { timeoutMs: flags.timeout * 1_000 });
  if (flags.html !== undefined) {
    await writeFile(flags.html, renderTimeline(report, `History ${file === '-' ? 'from stdin' : file}`));
  }
  if (flags.json) await print(toJson(report));
  else await print(reportLines(report).join('\n'));
  return { ok: EXIT.OK, illegal: EXIT.FAILED, unknown: EXIT.UNDECIDED }[report.result];
}

/** Adds the command `check-history`. `done` is told its exit status. */
export function addCheckHistoryCommand(program: Command, done: (status: number) => void): void {
  const command = program
    .command('check-history')
    .description('check that a recorded history is linearizable, key by key');
  withJson(command)
    .argument('<file>', 'the history as JSON Lines; - is stdin')
    .option('--html <file>', 'write a timeline of what is illegal')
    .option('--timeout <seconds>', 'time for the check', seconds, CHECK_TIMEOUT_MS / 1_000)
    .addHelpText(
      'after',
      '\nThe status is 0 if it is linearizable, 1 if it is not, 3 if the check did not come to an end, and 2 if the\n' +
        'history cannot be read. The format is described in docs/HISTORIES.md.\n' +
        '\nExample:\n  ringkeep check-history history.jsonl --html timeline.html\n',
    )
    .action(async (file: string, flags: CheckFlags) => {
      try {
        done(await check(file, flags));
      } catch (error) {
        const status = showError(error, flags.json);
        done(status === EXIT.FAILED ? EXIT.USAGE : status);
      }
    });
}
