/**
 * `npm run bench:profile [-- OPTIONS of bench]`: runs a benchmark against a cluster of its own with a CPU profile of every
 * process, and prints what an operation costs: µs of CPU by process, and what the main threads spent it on. Profiling
 * itself slows things down: take throughput from `npm run bench`. The profiles stay where it says, for Chrome's DevTools.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT, note, print } from '#src/cli/output.ts';
import type { BenchmarkDocument, ShownRun } from '../report/document.ts';
import { findRoot } from '../servers/machine.ts';
import { type CpuProfile, kindOf, type ProcessKind, sharesOf } from './budget.ts';

/** What is measured without options: quorum puts of 100 bytes, 256 in flight. */
const DEFAULTS = [
  ...['--mode', 'direct', '--threadcount', '256', '--value-size', '100', '--recordcount', '100000'],
  ...['-p', 'readproportion=0', '-p', 'updateproportion=1', '-p', 'requestdistribution=uniform'],
  ...['--maxexecutiontime', '15'],
];
const SAMPLE_US = 1_000;
/** A client process ends this soon after its run, at the latest. */
const AFTER_RUN_US = 500_000;
const FUNCTIONS_SHOWN = 15;

/** Runs the benchmark; returns its document. Rejects if it fails. */
function runProfiled(folder: string, options: readonly string[]): Promise<BenchmarkDocument> {
  const flags = ['--cpu-prof', '--cpu-prof-dir', folder, '--cpu-prof-interval', `${SAMPLE_US}`];
  const program = join(findRoot(), 'bin/ringkeep.js');
  const child = spawn(process.execPath, [...flags, program, 'bench', '--spawn', '--json', ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => {
      if (status === 0) resolve(JSON.parse(text) as BenchmarkDocument);
      else reject(new Error(`the benchmark ended with ${status}`));
    });
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

/** µs of CPU per operation: each server's, and all clients' together. */
function costs({ throughput, servers, clients }: ShownRun): Map<string, number> {
  const perOperation = (percent: number): number => (percent * 10_000) / throughput;
  const result = new Map<string, number>();
  for (const server of new Set(servers.map((sample) => sample.server))) {
    const percents = servers.filter((sample) => sample.server === server).map(({ cpuPercent }) => cpuPercent);
    result.set(server, perOperation(mean(percents)));
  }
  result.set('clients', perOperation(clients.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0)));
  return result;
}

function table(title: string, rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([, figure]) => figure.length));
  return [title, ...rows.map(([name, figure]) => `  ${figure.padStart(width)}  ${name}`), ''].join('\n');
}

async function main(): Promise<number> {
  const given = process.argv.slice(2);
  const folder = mkdtempSync(join(tmpdir(), 'ringkeep-profile-'));
  const document = await runProfiled(folder, given.length > 0 ? given : DEFAULTS);
  const run = document.steps[0]?.runs[0];
  if (run === undefined) throw new Error('the benchmark has no run');
  const profiles = readdirSync(folder).map(
    (name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as CpuProfile,
  );
  const byKind = (kind: ProcessKind): CpuProfile[] => profiles.filter((profile) => kindOf(profile) === kind);
  const to = Math.max(...byKind('client').map(({ endTime }) => endTime)) - AFTER_RUN_US;
  const from = to - run.elapsedSeconds * 1e6 + AFTER_RUN_US;
  const cpu = [...costs(run)].map(([name, us]) => [name, us.toFixed(1)] as const);
  await print(table(`${Math.round(run.throughput)} operations/s; µs of CPU per operation:`, cpu));
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  for (const kind of ['node', 'router', 'client'] as const) {
    const { busy, parts, functions } = sharesOf(byKind(kind), from, to);
    const title = `${kind}: main thread busy for ${percent(busy)} of the time, of which`;
    await print(
      table(
        title,
        [...parts].map(([name, share]) => [name, percent(share)]),
      ),
    );
    const first = [...functions].slice(0, FUNCTIONS_SHOWN);
    await print(
      table(
        `${kind}: by function`,
        first.map(([name, share]) => [name, percent(share)]),
      ),
    );
  }
  note(`profiles: ${folder}`);
  return EXIT.OK;
}

process.exitCode = await main();
