/**
 * The course of a comparison: in every round each system in turn is started from a clean directory, loaded, measured and
 * ended, so that whatever changes on the machine meanwhile is spread over all of them.
 * INVARIANT: one system runs at a time, and none is left, nor its directory, whatever happens.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../program.ts';
import { type Figures, MEASUREMENTS, type Measured, orderOf, type Pace } from './measurements.ts';
import { Processes } from './processes.ts';
import type { Host, RunningSystem, SystemUnderTest } from './system.ts';

/** What kept a system from being measured in a round. */
export interface RoundFailure {
  readonly round: number;
  readonly system: string;
  /** Null: it was not started. */
  readonly measurement: string | null;
  readonly message: string;
}

export interface Comparison {
  readonly measured: readonly Measured[];
  readonly failures: readonly RoundFailure[];
}

export interface CourseOptions {
  readonly systems: readonly SystemUnderTest[];
  readonly pace: Pace;
  /** Where the directories of the systems are made; of the same file system for all. */
  readonly directory: string;
  readonly stopped: AbortSignal;
  say(text: string): void;
}

/** Returns figures as a line of progress. */
function summaryOf({ throughput, p50, p99, errors }: Figures): string {
  const failed = errors === null || errors === 0 ? '' : `, ${errors} errors`;
  const latency = `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`;
  return `${Math.round(throughput)} operations per second, ${latency}${failed}`;
}

/** One system in one round. */
class Turn {
  readonly #system: SystemUnderTest;
  readonly #host: Host;
  readonly #round: number;
  readonly measured: Measured[] = [];
  readonly failures: RoundFailure[] = [];

  constructor(system: SystemUnderTest, host: Host, round: number) {
    this.#system = system;
    this.#host = host;
    this.#round = round;
  }

  /** Rejects only when stopped; what fails otherwise is noted, and ends the turn. */
  async run(): Promise<void> {
    let running: RunningSystem | null = null;
    let measurement: string | null = null;
    try {
      running = await this.#system.start(this.#host);
      for (const next of MEASUREMENTS[this.#system.name]) {
        this.#host.stopped.throwIfAborted();
        measurement = next.name;
        const figures = await running.measure(next);
        this.measured.push({ round: this.#round, system: this.#system.name, name: next.name, figures });
        this.#host.say(`  ${this.#system.name} ${next.name}: ${summaryOf(figures)}`);
      }
    } catch (error) {
      this.#host.stopped.throwIfAborted();
      const message = messageOf(error);
      this.failures.push({ round: this.#round, system: this.#system.name, measurement, message });
      this.#host.say(`  ${this.#system.name} ${measurement ?? 'start'} failed: ${message}`);
    } finally {
      await running?.stop();
      await this.#host.processes.stopServers();
    }
  }
}

/** Runs all rounds. Rejects with the reason of `stopped` only. */
export async function runComparison(options: CourseOptions): Promise<Comparison> {
  const { systems, pace, stopped, say } = options;
  const processes = new Processes();
  const measured: Measured[] = [];
  const failures: RoundFailure[] = [];
  const names = systems.map(({ name }) => name);
  for (let round = 1; round <= pace.rounds; round += 1) {
    for (const name of orderOf(names, round)) {
      stopped.throwIfAborted();
      say(`round ${round} of ${pace.rounds}: ${name}`);
      const system = systems.find((candidate) => candidate.name === name)!;
      const directory = join(options.directory, `${name}-${round}`);
      mkdirSync(directory);
      const turn = new Turn(system, { directory, processes, pace, seed: round, stopped, say }, round);
      try {
        await turn.run();
      } finally {
        rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
      }
      measured.push(...turn.measured);
      failures.push(...turn.failures);
    }
  }
  return { measured, failures };
}
