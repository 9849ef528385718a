/**
 * The command `import`: JSON Lines into a keyspace. Puts the input, the importer and the checkpoint together, and says how
 * it went.
 * INVARIANT: the checkpoint is removed only when every line was taken; in every other case it stays or is written.
 */
import { type Command, Option } from 'commander';
import type { Ack, RingkeepClient } from '../../client/index.ts';
import { VALUE_BYTES_CEILING } from '../../common/limits.ts';
import {
  type ClusterOptions,
  clusterStatus,
  count,
  withClient,
  withCluster,
  withKeyspace,
} from '../common-options.ts';
import { ackOf, ackOption, operationsOn } from '../key-commands.ts';
import { EXIT, note, print, printJson } from '../output.ts';
import { BAD_LINES_KEPT, type BadLine, Checkpoint, type Done, NOTHING_DONE } from './checkpoint.ts';
import { Importer } from './importer.ts';
import { type Input, openInput } from './input.ts';
import { showProgress } from './progress.ts';
import type { RecordCodec } from './records.ts';

interface ImportFlags extends ClusterOptions {
  readonly key: string;
  readonly keyspace: string;
  readonly codec: RecordCodec;
  readonly ack?: Ack;
  readonly concurrency: number;
  readonly maxErrors: number;
  /** A path, or false for none. */
  readonly resume: string | boolean;
}

/** Long enough for a failover, several of them, within one write. */
const TIMEOUT_MS = 60_000;
/** A value and the JSON around it; longer lines cannot be stored. */
const LINE_BYTES_MAX = VALUE_BYTES_CEILING + 1024;
const CHECKPOINT_MS = 1_000;

/** What came of a run. */
interface Summary {
  readonly imported: number;
  readonly blank: number;
  /** Of the whole import, with those that earlier runs have left out. */
  readonly bad: number;
  readonly lines: number;
  readonly bytes: number;
  /** Line after which this run began; 0: the beginning. */
  readonly resumedAfterLine: number;
  readonly complete: boolean;
  readonly ms: number;
  /** The first BAD_LINES_KEPT of the bad ones. */
  readonly badLines: readonly BadLine[];
}

function checkpointPath(file: string, flags: ImportFlags): string | null {
  if (typeof flags.resume === 'string') return flags.resume;
  return file === '-' || !flags.resume ? null : `${file}.ringkeep-import`;
}

function showSummary(summary: Summary, json: boolean): Promise<void> {
  if (json) return printJson({ event: 'imported', ...summary });
  const { imported, bad, ms, lines, complete } = summary;
  const rate = Math.round(imported / Math.max(ms / 1_000, 0.001)).toLocaleString('en');
  const text = `imported ${imported.toLocaleString('en')} records in ${(ms / 1_000).toFixed(1)} s (${rate}/s)`;
  const left = complete ? '' : `; stopped after line ${lines}, the same command goes on from there`;
  return print(`${text}${bad === 0 ? '' : `, ${bad} bad lines left out`}${left}`);
}

/** One run of an import: reads, writes, remembers how far it came. */
class ImportRun {
  readonly #flags: ImportFlags;
  readonly #input: Input;
  readonly #checkpoint: Checkpoint | null;
  readonly #importer: Importer;
  readonly #badLines: BadLine[];
  readonly #startedAt = performance.now();

  /** `done`: what earlier runs have done, up to where the input begins. */
  constructor(
    client: RingkeepClient,
    input: Input,
    done: Done,
    checkpoint: Checkpoint | null,
    flags: ImportFlags,
  ) {
    this.#flags = flags;
    this.#input = input;
    this.#badLines = [...done.badLines];
    this.#checkpoint = checkpoint;
    const operations = operationsOn(client, flags.keyspace);
    const options = ackOf(flags);
    this.#importer = new Importer({
      keyField: flags.key,
      codec: flags.codec,
      concurrency: flags.concurrency,
      errorsMax: flags.maxErrors,
      done,
      put: (key, { bytes, codec }) => operations.putEncoded(key, bytes, codec, options),
      onBadLine: (line) => this.#badLine(line),
      onEnding: () => input.close(),
    });
  }

  /** Resolves with the exit status; rejects with what stopped the import. */
  async run(): Promise<number> {
    const stop = () => this.#importer.stop();
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
    const saving = setInterval(() => {
      const failure = this.#save();
      if (failure !== null) this.#importer.abort(failure);
    }, CHECKPOINT_MS);
    const endProgress = showProgress(() => ({
      records: this.#importer.counts.imported,
      bytes: this.#importer.position.end,
      bytesTotal: this.#input.bytes,
    }));
    let complete = false;
    try {
      complete = await this.#importer.run(this.#input.lines);
    } catch (error) {
      this.#save();
      endProgress();
      await showSummary(this.#summary(false), this.#flags.json);
      throw error;
    } finally {
      clearInterval(saving);
      endProgress();
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
    }
    const failure = complete ? null : this.#save();
    if (complete) this.#checkpoint?.remove();
    await showSummary(this.#summary(complete), this.#flags.json);
    if (failure !== null) throw failure;
    if (!complete) return EXIT.INTERRUPTED;
    return this.#importer.counts.bad > 0 ? EXIT.FAILED : EXIT.OK;
  }

  /** Writes the checkpoint; returns the error if that fails. */
  #save(): unknown {
    const { done } = this.#importer;
    if (done.end <= this.#input.position.end) return null;
    try {
      this.#checkpoint?.write(done);
      return null;
    } catch (error) {
      return error;
    }
  }

  #badLine(line: BadLine): void {
    if (this.#badLines.length < BAD_LINES_KEPT) {
      this.#badLines.push(line);
      if (!this.#flags.json) note(`line ${line.line}: ${line.code} ${line.message}`);
    }
  }

  #summary(complete: boolean): Summary {
    const { position, counts } = this.#importer;
    return {
      ...counts,
      lines: position.number,
      bytes: position.end,
      resumedAfterLine: this.#input.position.number,
      complete,
      ms: Math.round(performance.now() - this.#startedAt),
      badLines: this.#badLines,
    };
  }
}

async function runImport(file: string, flags: ImportFlags): Promise<number> {
  const path = checkpointPath(file, flags);
  let checkpoint: Checkpoint | null = null;
  if (path !== null) {
    const cluster = (await clusterStatus(flags)).topology?.clusterId ?? '';
    const { keyspace, key, codec } = flags;
    checkpoint = new Checkpoint(path, { cluster, keyspace, key, codec });
  }
  const resumeAt = checkpoint?.read() ?? null;
  const input = await openInput(file, resumeAt, LINE_BYTES_MAX);
  // A changed file is read from its beginning, and its bad lines are met again.
  const done = resumeAt !== null && input.position.end > 0 ? resumeAt : NOTHING_DONE;
  if (!flags.json && resumeAt !== null) {
    const bad = done.bad === 0 ? '' : `, ${done.bad} bad lines left out so far`;
    note(
      input.position.number > 0
        ? `going on after line ${input.position.number} (${path})${bad}`
        : `${input.name} has changed; starting from its beginning`,
    );
  }
  return withClient(flags, (client) => new ImportRun(client, input, done, checkpoint, flags).run());
}

/** Adds the command `import`. `done` is told its exit status. */
export function addImportCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('import').description('write the records of a JSON Lines file');
  withKeyspace(withCluster(command, TIMEOUT_MS))
    .argument('<file>', 'JSON Lines; - reads stdin')
    .requiredOption('--key <field>', 'field of a record that is its key')
    .addOption(
      new Option('--codec <codec>', 'how records are stored; json keeps them byte for byte')
        .choices(['json', 'msgpack'])
        .default('json'),
    )
    .addOption(ackOption())
    .option('--concurrency <n>', 'writes that are open at once', count(1, 4_096), 512)
    .option('--max-errors <n>', 'bad lines to leave out before giving up', count(0, 2 ** 31), 100)
    .option('--resume <file>', 'where to keep how far it came (default: <file>.ringkeep-import)', true)
    .option('--no-resume', 'start from the beginning and remember nothing')
    .addHelpText(
      'after',
      '\nA key is text or a whole number below 2^53 in plain digits; other numbers must be quoted, since they would\n' +
        'become the same as others. The last record of a key wins. An import that was interrupted goes on where it\n' +
        'was when the same command is given again; lines that were written already may be written again, with the\n' +
        'same result.\n' +
        'The status is 1 if any line was left out, and --max-errors counts them, by this run or an earlier one of the\n' +
        'same import.\n' +
        '\nExamples:\n  ringkeep import users.jsonl --key id\n  zcat users.jsonl.gz | ringkeep import - --key id --keyspace users\n',
    )
    .action(async (file: string, flags: ImportFlags) => done(await runImport(file, flags)));
}
