/**
 * What a CPU profile of V8 says of a process: whose it is, and where its main thread spent the measured time. Samples are of
 * the wall clock: on a machine with more runnable threads than cores, waiting for a core counts as being busy.
 */

/** The parts of a `.cpuprofile` that are read. Times in µs, on the monotonic clock of the machine. */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly startTime: number;
  readonly endTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Kinds of processes that a benchmark starts; `other`: what supervises them. */
export type ProcessKind = 'node' | 'router' | 'client' | 'other';

const MARKS: readonly (readonly [ProcessKind, RegExp])[] = [
  ['node', /\/dist\/node\/core\/leadership\.js$/],
  ['router', /\/dist\/router\/proxy\.js$/],
  ['client', /\/dist\/bench\/load\/loop\.js$/],
];

/** By the first match of the file, or of the function's name where there is no file. */
const PARTS: readonly (readonly [string, RegExp])[] = [
  ['core', /\/dist\/node\/core\//],
  ['WAL', /\/dist\/node\/wal\/|\/dist\/common\/node-disk\.js$|^(fdatasync|writeBuffers?|writev?)$/],
  ['LevelDB', /\/dist\/node\/level-store\.js$|classic-level|abstract-level/],
  ['checksums and hashes', /\/dist\/common\/(crc32c|hash)\.js$/],
  ['codecs', /\/dist\/common\/wire\/(\w+-codec|protobuf|sizes)\.js$/],
  ['streams of our own', /\/dist\/common\/wire\//],
  ['gRPC', /@grpc\//],
  ['HTTP/2, sockets, streams', /^node:(internal\/(http2|streams|stream_base)|net|_?http)/],
  ['shell', /\/dist\/node\/|\/dist\/router\//],
  ['client library', /\/dist\/client\//],
  ['load generator', /\/dist\/bench\//],
  ['garbage collection', /^\(garbage collector\)$/],
  ['V8 and libuv', /^\(program\)$/],
];
const REST = 'Node.js and the rest';

/** Returns what kind of process it was. */
export function kindOf({ nodes }: CpuProfile): ProcessKind {
  for (const [kind, mark] of MARKS) if (nodes.some(({ callFrame }) => mark.test(callFrame.url))) return kind;
  return 'other';
}

/** Shares of the busy time of a process's main thread, each adding up to 1. */
export interface Shares {
  /** Of the window. */
  readonly busy: number;
  readonly parts: ReadonlyMap<string, number>;
  /** By function, place in the file, and file. */
  readonly functions: ReadonlyMap<string, number>;
}

function add(sums: Map<string, number>, name: string, value: number): void {
  sums.set(name, (sums.get(name) ?? 0) + value);
}

/** Adds up the samples in [from, to), µs on the monotonic clock. */
export function sharesOf(profiles: readonly CpuProfile[], from: number, to: number): Shares {
  const parts = new Map<string, number>();
  const functions = new Map<string, number>();
  let busy = 0;
  let all = 0;
  for (const { nodes, samples, timeDeltas, startTime } of profiles) {
    const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
    let at = startTime;
    for (const [index, sample] of samples.entries()) {
      const delta = timeDeltas[index] ?? 0;
      at += delta;
      if (at < from || at >= to) continue;
      const { functionName, url, lineNumber } = frames.get(sample)!;
      all += delta;
      if (functionName === '(idle)') continue;
      busy += delta;
      const place = url || functionName;
      add(parts, PARTS.find(([, pattern]) => pattern.test(place))?.[0] ?? REST, delta);
      const file = url.replace(/^.*\/(node_modules|dist)\//, '').replace(/^file:\/\//, '');
      add(
        functions,
        `${functionName || '(anonymous)'} ${file}${url === '' ? '' : `:${lineNumber + 1}`}`,
        delta,
      );
    }
  }
  const shares = (sums: Map<string, number>): Map<string, number> =>
    new Map([...sums].map(([name, sum]) => [name, sum / busy] as const).sort((a, b) => b[1] - a[1]));
  return { busy: all === 0 ? 0 : busy / all, parts: shares(parts), functions: shares(functions) };
}
