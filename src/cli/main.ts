/**
 * The command line: names the commands, turns every way they can end into an exit status, and exits. What a command
 * does is in its own file.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addAckCommand } from './ack.ts';
import { addBatchCommand } from './batch-command.ts';
import { addBenchCommand } from './bench.ts';
import { addChaosCommand } from './chaos.ts';
import { addCheckHistoryCommand } from './check-history.ts';
import { addExportCommand } from './export.ts';
import { addHotCommand } from './hot.ts';
import { addImportCommand } from './import/command.ts';
import { addKeyCommands } from './key-commands.ts';
import { addDrainCommand, addForgetCommand } from './members.ts';
import { addRebalanceCommand } from './moves.ts';
import { EXIT, endOnClosedOutput, showError } from './output.ts';
import { addSaltCommands } from './salt.ts';
import { addScrubCommand } from './scrub.ts';
import { addNodeCommand, addRouterCommand } from './service-commands.ts';
import { addStatusCommand } from './status.ts';
import { addUpCommand } from './up/command.ts';
import { addScaleCommand } from './up/scale.ts';
import { addWaldumpCommand } from './waldump.ts';

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

async function buildProgram(argv: readonly string[], done: (status: number) => void): Promise<Command> {
  const json = argv.includes('--json');
  const program = new Command('ringkeep')
    .description('A sharded, replicated key-value store.')
    .version(version())
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => {
        if (!json) return write(text);
        const message = text.replace(/^error: /, '').trim();
        write(`${JSON.stringify({ error: { code: 'INVALID_ARGUMENT', message } })}\n`);
      },
    })
    .showSuggestionAfterError(true)
    .addHelpText(
      'after',
      '\nExamples:\n  ringkeep up\n  ringkeep put user:1 \'{"name":"Ada"}\'\n  ringkeep get user:1\n  ringkeep status\n',
    );
  addUpCommand(program, done);
  addNodeCommand(program, done);
  addRouterCommand(program, done);
  addScaleCommand(program, done);
  addStatusCommand(program, done);
  addRebalanceCommand(program, done);
  addDrainCommand(program, done);
  addForgetCommand(program, done);
  addHotCommand(program, done);
  addSaltCommands(program, done);
  addScrubCommand(program, done);
  addAckCommand(program, done);
  addKeyCommands(program, done);
  addBatchCommand(program, done);
  addImportCommand(program, done);
  addExportCommand(program, done);
  addWaldumpCommand(program, done);
  addChaosCommand(program, done);
  addCheckHistoryCommand(program, done);
  await addBenchCommand(program, done, argv);
  return program;
}

/** Returns the exit status of what commander throws: help and version are fine, the rest is a wrong command line. */
function usageStatus(error: CommanderError): number {
  return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
}

async function run(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json');
  let status: number = EXIT.OK;
  try {
    const program = await buildProgram(argv, (result) => {
      status = result;
    });
    await program.parseAsync([...argv]);
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return usageStatus(error);
    return showError(error, json);
  }
}

/** Runs the command line `argv` (as `process.argv`) and exits the process with its status. */
export async function main(argv: readonly string[]): Promise<void> {
  endOnClosedOutput();
  process.on('unhandledRejection', (error) => {
    process.exit(showError(error, argv.includes('--json')));
  });
  const status = await run(argv);
  // Pipes take what is written at their reader's pace; an exit before would cut it off.
  process.stdout.write('', () => process.exit(status));
}
