/**
 * What many seeds did together: operations, faults that bit by kind, and how often each path of the protocol was taken. A
 * simulation that stops injuring proves nothing, so a path that is never taken is a finding.
 */
import { FAULT_KINDS } from './nemesis.ts';

/** What one seed did; `counts` are pairs, so that they can be sent between processes. */
export interface SeedResult {
  readonly seed: number;
  readonly operations: number;
  readonly virtualMs: number;
  readonly traceHash: string;
  readonly counts: readonly (readonly [name: string, count: number])[];
}

/** Seeds from which on a path that was never taken counts as missing. */
const SEEDS_ENOUGH = 200;

/** What many seeds must have exercised between them. */
export const PATHS: readonly string[] = [
  'copy looked at',
  'copy read',
  'counter salted',
  'counter unsalted',
  'peer counterOrder',
  'peer counterReply',
  'sub-counter incremented',
  'sub-counter was closed',
  'reply COUNTER_SALTED',
  'node key_salted',
  'node key_unsalted',
  'peer copyOrder',
  'peer copyReply',
  'controller cluster_record_rebuilt',
  'controller failover_started',
  'controller learner_added',
  'controller planned_change_became_unplanned',
  'controller planned_change_finished',
  'controller record_rebuilt',
  'controller reconfiguration_reverted',
  'damage found',
  'damaged',
  'few copies',
  'controller node_rolled_back',
  'controller store_has_forgotten',
  'node leader_established',
  'node leader_stepped_down',
  'node leader_writes_lost',
  'node replica_damaged',
  'node replica_dropped',
  'node scrub_agreed',
  'node scrub_undecided',
  'node snapshot_installed',
  'old copy of the same run put back',
  'old copy put back',
  'operation notApplied',
  'operation unknown',
  'reply ACK_NOT_REACHED',
  'reply DISK_FULL',
  'reply NOT_LEADER',
  'reply NO_QUORUM',
  'reply SESSION_EXPIRED',
  'reply SESSION_TIME',
  'reply all',
  'reply duplicate',
  'reply leader',
  'reply quorum',
  'reply value',
  'router forwarded again',
  'router heard goaway',
  'router held',
  'router passed an answer on',
  'router sent gets together',
  'router said CANCELLED not_applied',
  'router said DEADLINE_EXCEEDED not_applied',
  'router said DEADLINE_EXCEEDED unknown',
  'router said NO_QUORUM not_applied',
  'router said OVERLOADED not_applied',
  'router said SHUTTING_DOWN not_applied',
  'router said UNAVAILABLE not_applied',
  'router said UNAVAILABLE unknown',
  'store emptied',
  'store put back',
  'sync failed',
  'wal truncate',
  'wiped',
  ...FAULT_KINDS.map((kind) => `fault ${kind}`),
];

export class Summary {
  seeds = 0;
  operations = 0;
  virtualMs = 0;
  readonly failures: number[] = [];
  /** By name: how often, and in how many seeds. */
  readonly counts = new Map<string, { total: number; seeds: number }>();

  add({ operations, virtualMs, counts }: SeedResult): void {
    this.seeds += 1;
    this.operations += operations;
    this.virtualMs += virtualMs;
    for (const [name, count] of counts) {
      if (count === 0) continue;
      const known = this.counts.get(name);
      if (known === undefined) this.counts.set(name, { total: count, seeds: 1 });
      else {
        known.total += count;
        known.seeds += 1;
      }
    }
  }

  /** A table of everything that was counted: name, how often, in what part of the seeds. */
  describe(): string {
    const rows = [...this.counts].sort(([left], [right]) => (left < right ? -1 : 1));
    const width = Math.max(0, ...rows.map(([name]) => name.length));
    return rows
      .map(([name, { total, seeds }]) => {
        const part = `${((100 * seeds) / Math.max(1, this.seeds)).toFixed(0)} %`;
        return `${name.padEnd(width)}  ${String(total).padStart(9)}  ${part.padStart(5)}`;
      })
      .join('\n');
  }

  /** The summary in one line. */
  line(seconds: number): string {
    const total = (name: string): number => this.counts.get(name)?.total ?? 0;
    const faults = FAULT_KINDS.map((kind) => `${kind} ${total(`fault ${kind}`)}`).join(', ');
    const completed = completedOf(total);
    const kinds = FAULT_KINDS.reduce((sum, kind) => sum + (this.counts.get(`fault ${kind}`)?.seeds ?? 0), 0);
    const average = (count: number): string => (count / Math.max(1, this.seeds)).toFixed(1);
    return (
      `sim: ${this.seeds} seeds, ${(this.seeds / seconds).toFixed(1)} seeds/s, ${this.operations} operations ` +
      `(${completed} completed), ${(this.virtualMs / 3_600_000).toFixed(2)} virtual hours; ` +
      `leaders established ${total('node leader_established')}; on average ${average(completed)} completed, ` +
      `${average(kinds)} kinds of faults, ${average(total('node leader_established'))} leaders a seed; ` +
      `faults: ${faults}; ` +
      `${this.failures.length} failed${this.failures.length > 0 ? `: ${this.failures.join(' ')}` : ''}`
    );
  }
}

/** Operations that were decided and answered: also writes whose condition did not hold, or that repeated an earlier one. */
function completedOf(total: (name: string) => number): number {
  const ends = ['applied', 'refused', 'repeated', 'reads'];
  return ends.reduce((sum, end) => sum + total(`operation ${end}`), 0);
}

/** What many seeds must do, on average or in a part of them; less proves too little. */
const LEAST = { operations: 300, leaders: 2, faultKinds: 3, partWithFault: 0.05 };

/** What seeds have left out that they should have done, when there were enough of them: empty if nothing. */
export function shortfalls({ seeds, counts }: Summary): string[] {
  if (seeds < SEEDS_ENOUGH) return [];
  const found = PATHS.filter((name) => !counts.has(name)).map((name) => `never taken: ${name}`);
  const total = (name: string): number => counts.get(name)?.total ?? 0;
  const withFault = FAULT_KINDS.map((kind) => counts.get(`fault ${kind}`)?.seeds ?? 0);
  const averages = {
    operations: completedOf(total) / seeds,
    // The first one is not a change.
    leaders: total('node leader_established') / seeds,
    faultKinds: withFault.reduce((sum, count) => sum + count, 0) / seeds,
  };
  for (const [name, average] of Object.entries(averages)) {
    const least = LEAST[name as keyof typeof averages];
    if (average < least) found.push(`${average.toFixed(1)} ${name} a seed, not ${least}`);
  }
  for (const [at, kind] of FAULT_KINDS.entries()) {
    if (withFault[at]! < seeds * LEAST.partWithFault)
      found.push(`${kind} in ${withFault[at]} seeds of ${seeds}`);
  }
  return found;
}
