/**
 * Wall clocks that are wrong, by libfaketime: a node is started again, in good order, under a clock that is read from a file, and then
 * its clock jumps, runs ahead or behind, or at another rate. Monotonic clocks stay right, as they do when a wall clock is set.
 * Safety uses no clock (docs/GUARANTEES.md, A4); values end and sessions expire by the wall clocks of leaders.
 */
import { existsSync, readdirSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RingkeepError } from '../../common/errors.ts';
import { type ActiveFault, type FaultContext, type FaultDriver, pickNode } from '../fault.ts';
import { type ClusterProcess, eventually, STEP_MS } from '../process.ts';

const CONFIRM_MS = 10_000;
const MINUTE_MS = 60_000;
/** A busy node answers late: it is asked again, so often at most, until an answer took no longer than this. */
const CLOCK_QUESTIONS = 5;
const CLOCK_QUESTION_MS = 200;
/** Debian's package `faketime` has it below the folder of the architecture. */
const LIBRARY_FOLDERS = ['/usr/lib', '/usr/lib64', '/usr/local/lib'];
const LIBRARY = 'faketime/libfaketimeMT.so.1';
/** What the system's time is told by, in the header of an answer, in whole seconds. */
const GRAIN_MS = 1_500;

/** Returns the path of the library, or null. */
function findLibrary(): string | null {
  for (const folder of LIBRARY_FOLDERS) {
    if (!existsSync(folder)) continue;
    for (const name of ['', ...readdirSync(folder).filter((each) => each.includes('-linux-gnu'))]) {
      const path = join(folder, name, LIBRARY);
      if (existsSync(path)) return path;
    }
  }
  return null;
}

const missing = (): string | null => (findLibrary() === null ? 'libfaketime not installed' : null);

/** Returns how far a process's wall clock is ahead of this one's, ms, to about a second: the shortest of some questions tells it best. */
export async function clockOffsetMs(node: ClusterProcess): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  let offset = 0;
  for (let times = 0; times < CLOCK_QUESTIONS && best > CLOCK_QUESTION_MS; times += 1) {
    const before = Date.now();
    const response = await fetch(`http://${node.http}/healthz`, { signal: AbortSignal.timeout(CONFIRM_MS) });
    const after = Date.now();
    await response.arrayBuffer();
    if (after - before >= best) continue;
    best = after - before;
    // In whole seconds, rounded down, at some moment between the two.
    offset = Date.parse(response.headers.get('date') ?? '') + 500 - (before + after) / 2;
  }
  return offset;
}

/** The clock of one process. */
class FakeClock {
  private readonly node: ClusterProcess;
  private readonly path: string;
  private leave = (): void => {};

  constructor(node: ClusterProcess) {
    this.node = node;
    this.path = `${node.data}-clock`;
  }

  /** As libfaketime has it: `+300`, `-60 x2`. */
  async set(what: string): Promise<void> {
    // It is read at any moment.
    await writeFile(`${this.path}.new`, `${what}\n`);
    await rename(`${this.path}.new`, this.path);
  }

  /** Starts the node again under this clock; it reads `what` from its first moment on. */
  async install(what: string): Promise<void> {
    await this.set(what);
    const { node, path } = this;
    this.leave = node.surround(({ file, args, env }) => {
      const clock = {
        LD_PRELOAD: findLibrary()!,
        FAKETIME_TIMESTAMP_FILE: path,
        FAKETIME_NO_CACHE: '1',
        DONT_FAKE_MONOTONIC: '1',
        NO_FAKE_STAT: '1',
      };
      return { file, args, env: { ...env, ...clock } };
    });
    await node.end();
    await node.start();
  }

  /** The clock is right again; the next life of the process has none of this. */
  async remove(): Promise<void> {
    this.leave();
    // Without a rate it would keep the one that it has.
    if (this.node.running) await this.set('+0 x1');
    else await rm(this.path, { force: true });
  }
}

function shown(ms: number): string {
  return `${ms < 0 ? '-' : '+'}${(Math.abs(ms) / 1_000).toFixed(0)} s`;
}

/** Starts a node under a clock that reads `first`, and then sets it to `next`. */
async function wrong(
  context: FaultContext,
  what: string,
  [first, next]: readonly [string, string],
  isWrong: (offsetMs: number) => boolean,
): Promise<ActiveFault> {
  const node = await pickNode(context);
  if (!node.running) throw new RingkeepError('NOT_READY', `${node.name} does not run`);
  const clock = new FakeClock(node);
  const undo = async (): Promise<void> => {
    await clock.remove();
    if (!node.running) await node.start().catch(() => {});
  };
  try {
    await clock.install(first);
    // It leads again, so that its clock counts.
    if (first !== next) await context.cluster.whenHealthy(STEP_MS);
    await clock.set(next);
  } catch (error) {
    await undo();
    throw error;
  }
  const confirmed = eventually(
    `a clock that is ${what}`,
    async (say) => {
      const offset = await clockOffsetMs(node).catch(() => 0);
      return isWrong(offset)
        ? `${node.name} tells a time that is off by ${shown(offset)}`
        : say(shown(offset));
    },
    CONFIRM_MS,
  );
  confirmed.catch(() => {});
  return { target: `${node.name}, ${what}`, cutOff: [], confirmed, undo };
}

function offset(ms: number): string {
  return `${ms < 0 ? '-' : '+'}${Math.abs(ms) / 1_000}`;
}

/** A clock that is right when the node starts, and jumps while it runs. */
function jump(kind: string, direction: 1 | -1, text: string): FaultDriver {
  const inject = (context: FaultContext): Promise<ActiveFault> => {
    const ms = direction * (1 + context.random.integer(5)) * MINUTE_MS;
    const isWrong = (found: number): boolean => Math.abs(found - ms) < GRAIN_MS + 1_000;
    return wrong(context, shown(ms), ['+0', offset(ms)], isWrong);
  };
  return { kind, family: 'clock', group: 'surroundings', text, missing, inject };
}

const skew: FaultDriver = {
  kind: 'clock-skew',
  family: 'clock',
  group: 'surroundings',
  text: 'one node is started again with a clock that is 5 to 60 s ahead or behind',
  missing,
  inject: (context) => {
    const ms = (5 + context.random.integer(56)) * 1_000 * (context.random.next() < 0.5 ? 1 : -1);
    return wrong(
      context,
      shown(ms),
      [offset(ms), offset(ms)],
      (found) => Math.abs(found - ms) < GRAIN_MS + 1_000,
    );
  },
};

const rate: FaultDriver = {
  kind: 'clock-rate',
  family: 'clock',
  group: 'surroundings',
  text: 'one node is started again with a clock that runs at half or twice the rate',
  missing,
  inject: (context) => {
    const factor = context.random.next() < 0.5 ? '0.5' : '2';
    const how = `+0 x${factor}`;
    // Told in whole seconds, which are behind.
    const isWrong = (found: number): boolean => (factor === '2' ? found > 500 : found < -GRAIN_MS - 500);
    return wrong(context, `x${factor}`, [how, how], isWrong);
  },
};

/** Every fault of clocks, where libfaketime is installed. */
export const CLOCK_FAULTS: readonly FaultDriver[] = [
  jump('clock-forward', 1, 'the wall clock of one node jumps forward by 1 to 5 minutes, and back at the end'),
  jump('clock-back', -1, 'the wall clock of one node jumps back by 1 to 5 minutes, and forward at the end'),
  skew,
  rate,
];
