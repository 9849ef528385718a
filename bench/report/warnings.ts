/**
 * Reasons to doubt a figure: what limited it may have been the client, the disk may be none, reads may have found nothing.
 */
import type { ClusterFacts } from '../experiment.ts';
import type { Circumstances } from '../program.ts';
import type { Machine } from '../servers/machine.ts';
import type { Settings } from '../settings.ts';
import type { ShownRun, ShownStep } from './document.ts';

/** An event loop that is busier than that makes operations wait in the client. */
export const BUSY_MAX = 0.9;
/** Operations that start later than that behind their time, at p99, were held up in the client. */
const START_DELAY_MS_MAX = 10;
/** Part of the operations that may wait at the end by the grain of the timer. */
const BACKLOG_SHARE_MAX = 0.01;
/** Load average per core of a machine that does nothing else. */
const IDLE_LOAD_MAX = 0.25;

function pace(rate: number | null): string {
  return rate === null ? '' : ` at ${rate} operations per second`;
}

function runWarnings(run: ShownRun, rate: number | null, settings: Settings): string[] {
  const { counts, clients, startDelay } = run;
  const warnings: string[] = [];
  const busiest = Math.max(...clients.map(({ busy }) => busy));
  if (!settings.spin && busiest > BUSY_MAX) {
    const share = `${Math.round(100 * busiest)} %`;
    warnings.push(
      `a client process was busy ${share} of the time${pace(rate)}: it was the limit; use more --processes or another machine`,
    );
  }
  const isBacklog = counts.backlog > counts.started * BACKLOG_SHARE_MAX;
  if (isBacklog) {
    warnings.push(
      `${counts.backlog} operations were due and had not started at the end${pace(rate)}; ${counts.abandoned} never started and are in no percentile`,
    );
  } else if (startDelay !== null && startDelay.p99 > START_DELAY_MS_MAX) {
    warnings.push(
      `operations started up to ${startDelay.p99.toFixed(1)} ms late (p99)${pace(rate)}: the latencies have that in them`,
    );
  }
  if (settings.load && counts.absent > 0) warnings.push(`${counts.absent} reads found nothing`);
  return warnings;
}

/** Returns the warnings of all runs, each text once. */
export function warningsOf(steps: readonly ShownStep[], settings: Settings, cluster: ClusterFacts): string[] {
  const warnings = steps.flatMap(({ rate, runs }) => runs.flatMap((run) => runWarnings(run, rate, settings)));
  if (cluster.fileSystem === 'tmpfs') {
    warnings.push(
      'the data is in memory (tmpfs): syncs cost nothing there; set TMPDIR to a folder on a disk',
    );
  }
  if (cluster.sampled.length === 0) {
    warnings.push('no server process was found to sample; name their metrics with --prometheus');
  }
  if (cluster.spawned) warnings.push('servers and clients shared one machine');
  if (settings.kill !== null && settings.rate === null) {
    warnings.push(
      'in a closed loop, gaps are also times in which all operations waited elsewhere: use --target',
    );
  }
  return [...new Set(warnings)];
}

/** Returns the reasons to doubt figures of clusters that were started for a measurement, on the machine of the load. */
export function machineWarnings({
  fileSystem,
  loadAverage,
  machine,
}: Pick<Circumstances, 'fileSystem' | 'loadAverage'> & { readonly machine: Machine }): string[] {
  const warnings: string[] = [];
  if (fileSystem === 'tmpfs')
    warnings.push('the data is in memory (tmpfs), where syncs cost nothing: use --data');
  if (loadAverage > IDLE_LOAD_MAX * machine.cores) {
    warnings.push(`the machine was not idle: its load average was ${loadAverage.toFixed(1)} at the start`);
  }
  return [...warnings, 'servers and load generators shared one machine'];
}
