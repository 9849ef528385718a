/** Faults of clients: they flood, read nothing, or keep connections half open. Each is a process of its own (rude-client.ts). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { RingkeepError } from '../../common/errors.ts';
import {
  type ActiveFault,
  ANYWHERE,
  type FaultContext,
  type FaultDriver,
  pick,
  type RudeFacts,
} from '../fault.ts';
import type { RudeReport } from '../rude-client.ts';
import type { ChaosCluster } from '../target.ts';

const PROGRAM = fileURLToPath(new URL('../rude-client.js', import.meta.url));
const EFFECT_MS = 10_000;
const NOTHING: RudeFacts = { sent: 0, refused: 0, wrong: 0, refusedKeys: [] };

/** Resolves with the first line of this event; rejects when there is none in time. */
function lineOf<T>(child: ChildProcess, event: string, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const none = (): void => reject(new RingkeepError('NOT_READY', `the client has said no ${event}`));
    const timer = setTimeout(none, timeoutMs);
    let text = '';
    child.once('exit', () => setTimeout(none, 100));
    child.stdout!.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      const line = text.split('\n').find((one) => one.includes(`"event":"${event}"`) && one.endsWith('}'));
      if (line === undefined) return;
      clearTimeout(timer);
      resolve(JSON.parse(line) as T);
    });
  });
}

async function end(child: ChildProcess): Promise<RudeFacts> {
  if (child.exitCode !== null || child.signalCode !== null) return NOTHING;
  const gone = once(child, 'exit');
  const report = lineOf<RudeReport>(child, 'report', 2_000);
  child.stdin!.end();
  const facts = await report.catch(() => NOTHING);
  child.kill('SIGKILL');
  await gone;
  return facts;
}

/** Starts one, towards the router or a node. */
function start(context: FaultContext<ChaosCluster>, mode: string): ActiveFault {
  const { cluster, random, partitions, keyspace } = context;
  // Floods go where every leader is reached from.
  const server = mode === 'flood' ? cluster.router : pick(random, cluster.processes);
  const child = spawn(process.execPath, [PROGRAM, mode, server.address, `${partitions}`, keyspace], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin!.on('error', () => {});
  const confirmed = lineOf<{ text: string }>(child, 'effect', EFFECT_MS).then(({ text }) => text);
  confirmed.catch(() => {});
  let ended: Promise<RudeFacts> | null = null;
  const rude = (): Promise<RudeFacts> => {
    ended ??= end(child);
    return ended;
  };
  const undo = async (): Promise<void> => {
    await rude();
  };
  return { target: server.name, cutOff: [], confirmed, undo, rude };
}

function clientFault(mode: string, text: string): FaultDriver<ChaosCluster> {
  return {
    kind: mode,
    family: 'clients',
    text,
    missing: ANYWHERE,
    inject: (context) => Promise.resolve(start(context, mode)),
  };
}

/** Every fault of clients. */
export const CLIENT_FAULTS: readonly FaultDriver<ChaosCluster>[] = [
  clientFault('flood', 'a client sends writes to one process and ignores credit and refusals'),
  clientFault('slow-reader', 'a client asks one process for long values and never reads an answer'),
  clientFault(
    'half-open-clients',
    'two hundred connections to one process say the beginning of something, and nothing more',
  ),
];
