/**
 * Processes of somebody else's cluster on this machine: found by what the cluster tells of them, recognised for sure, and signalled
 * only as long as they are the same. A pid alone says nothing: it may be of another machine, of a container, or given away since.
 * INVARIANT: only a process is signalled whose command line is that of `ringkeep KIND` with the id that was asked for, which listens on
 * the port that its cluster tells, and which is the very one that was found so: right before every signal its start time and its
 * command line are read again.
 */
import { lookup } from 'node:dns/promises';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { basename } from 'node:path';
import { isLoopback, parseAddress } from '../common/wire/address.ts';
import { eventually } from './process.ts';

/** What a process of a cluster is. */
export type ProcessKind = 'node' | 'router';

/** One life of a process of this machine. */
export interface LocalProcess {
  readonly pid: number;
  /** When it began, in ticks since the machine did: no other process with this pid has it. */
  readonly startTicks: number;
  readonly commandLine: string;
}

/** What a cluster tells of one of its processes. */
export interface Told {
  readonly kind: ProcessKind;
  readonly id: string;
  readonly pid: number;
  /** HOST:PORT under which it is reached; any of them is enough. */
  readonly addresses: readonly string[];
}

/** A process that was found, or why none was. */
export type Found = { readonly process: LocalProcess } | { readonly missing: string };

const PROGRAMS: readonly string[] = ['ringkeep', 'ringkeep.js'];
/** State of a socket that listens, in /proc/PID/net/tcp. */
const LISTENS = '0A';

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Whether these arguments are those of `ringkeep KIND`, and of no other id than this. A router may do without one. */
export function isRingkeep(args: readonly string[], kind: ProcessKind, id: string): boolean {
  const at = args.findIndex((arg, index) => PROGRAMS.includes(basename(arg)) && args[index + 1] === kind);
  if (at < 0) return false;
  const rest = args.slice(at + 2);
  const given = rest.flatMap((arg, index) => {
    if (arg.startsWith('--id=')) return [arg.slice('--id='.length)];
    return arg === '--id' ? [rest[index + 1] ?? ''] : [];
  });
  // The last one counts.
  const last = given.at(-1);
  return last === undefined ? kind === 'router' : last === id;
}

/** Returns when a process began, in ticks, from its /proc/PID/stat; null: this is none. Its name may hold anything. */
export function startTicksIn(stat: string): number | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[19]);
  return fields.length > 19 && Number.isSafeInteger(ticks) ? ticks : null;
}

/** Returns the inodes of the sockets that listen on a port, from /proc/PID/net/tcp or tcp6. */
export function listenersIn(table: string, port: number): string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  return table.split('\n').flatMap((line) => {
    const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/);
    return state === LISTENS && local.endsWith(`:${wanted}`) && inode !== undefined ? [inode] : [];
  });
}

/** Returns the process that has this pid now; null: none, or one that has ended and was not waited for. */
export function processOf(pid: number): LocalProcess | null {
  const startTicks = startTicksIn(textOf(`/proc/${pid}/stat`));
  const commandLine = textOf(`/proc/${pid}/cmdline`);
  return startTicks === null || commandLine === '' ? null : { pid, startTicks, commandLine };
}

/** Whether it still is the very same process. */
export function isStill({ pid, startTicks, commandLine }: LocalProcess): boolean {
  const now = processOf(pid);
  return now !== null && now.startTicks === startTicks && now.commandLine === commandLine;
}

/** The state of a process as the system has it: `T` for stopped; empty: it is gone. */
export function stateOf(local: LocalProcess): string {
  if (!isStill(local)) return '';
  return /^State:\s+(\S)/m.exec(textOf(`/proc/${local.pid}/status`))?.[1] ?? '';
}

/** Resolves with `proof` once a process is in this state; the empty one: gone. Rejects with RingkeepError NOT_READY. */
export function whenIn(
  local: LocalProcess,
  wanted: string,
  proof: string,
  timeoutMs: number,
): Promise<string> {
  const reached = eventually(
    `${local.pid} in state ${wanted || 'gone'}`,
    (missing) => {
      const state = stateOf(local);
      return state === wanted ? proof : missing(state);
    },
    timeoutMs,
  );
  reached.catch(() => {});
  return reached;
}

/** Sends a signal if it still is the same process and may be signalled. Returns whether it was sent. */
export function signalStill(local: LocalProcess, signal: NodeJS.Signals | 0): boolean {
  if (!isStill(local)) return false;
  try {
    return process.kill(local.pid, signal);
  } catch {
    return false;
  }
}

function listensOn(pid: number, port: number): boolean {
  const inodes = ['tcp', 'tcp6'].flatMap((name) => listenersIn(textOf(`/proc/${pid}/net/${name}`), port));
  if (inodes.length === 0) return false;
  const sockets = new Set(inodes.map((inode) => `socket:[${inode}]`));
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return sockets.has(readlinkSync(`/proc/${pid}/fd/${fd}`));
      } catch {
        return false;
      }
    });
  } catch {
    return false;
  }
}

/** Whether an address is one of this machine's. Resolves names. */
export async function isHere(address: string): Promise<boolean> {
  const { host } = parseAddress(address);
  if (isLoopback(host)) return true;
  const found = await lookup(host, { all: true }).catch(() => []);
  const own = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return found.some(
    ({ address: ip }) => isLoopback(ip) || own.some(({ address: other }) => other === ip.replace(/%.*$/, '')),
  );
}

/** Looks for the process that a cluster tells of. */
export async function findProcess({ kind, id, pid, addresses }: Told): Promise<Found> {
  if (process.platform !== 'linux') return { missing: 'it needs Linux' };
  const here = await Promise.all(addresses.map(isHere));
  const ports = addresses.filter((_, at) => here[at]).map((address) => parseAddress(address).port);
  if (ports.length === 0) return { missing: `${id} is on another machine` };
  const found = pid > 1 ? processOf(pid) : null;
  if (found === null || !isRingkeep(found.commandLine.split('\0'), kind, id))
    return { missing: `${id} tells pid ${pid}, which is no \`ringkeep ${kind}\` of that id here` };
  if (!signalStill(found, 0)) return { missing: `${id} (${pid}) belongs to another user` };
  if (!ports.some((port) => listensOn(pid, port)))
    return { missing: `pid ${pid} does not listen where ${id} is reached` };
  return { process: found };
}
