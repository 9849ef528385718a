/**
 * Requests that are sent again although they were answered, to whichever node will take them, as a client does that has lost the
 * answer: in a run of healthy clients that is rare, and just what deduplication is there for.
 * INVARIANT: a lane has one request at a time; it goes on to the next sequence once this one was answered twice.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { HistoryOutput } from '../../common/history.ts';
import { CLIENT_ID_BYTES } from '../../common/limits.ts';
import type { Receipt, Reply } from '../../common/wire/messages.ts';
import { OneNode } from './one-node.ts';
import { nowUs, VERIFY_MS, type Workbench, type Workload } from './workbench.ts';

const LANES = 2;
/** A request that was not acknowledged by then is given up, ms: its outcome is unknown. */
const GIVE_UP_MS = 10_000;
/** The nodes are asked again after that, ms. */
const ANSWER_MS = 250;
const POLL_MS = 5;

/** One client that speaks to all nodes and leaves nothing to chance. */
class Repeater {
  private readonly clientId = randomBytes(CLIENT_ID_BYTES);
  private readonly sessions = new Map<string, OneNode>();
  private readonly addresses: readonly string[];
  private sequence = 0;
  /** Of each key's partition: a leader tells it before it opens a session for deduplication. */
  private readonly logTimes = new Map<string, number>();

  private readonly keyspace: string;

  constructor({ nodes, keyspace }: Pick<Workbench['options'], 'nodes' | 'keyspace'>) {
    this.addresses = nodes;
    this.keyspace = keyspace;
  }

  get name(): string {
    return this.clientId.toString('hex');
  }

  private session(address: string): OneNode {
    const known = this.sessions.get(address);
    if (known !== undefined && !known.ended) return known;
    const fresh = new OneNode(address, this.keyspace, this.clientId);
    this.sessions.set(address, fresh);
    return fresh;
  }

  next(): void {
    this.sequence += 1;
  }

  /** Sends the present increment to every node. Resolves with the receipt of the one that leads; null: none in time. */
  async send(key: string, attempt: number): Promise<Receipt | null> {
    const found: Receipt[] = [];
    let open = 0;
    const take = ({ receipt, failure }: Reply): void => {
      open -= 1;
      if (receipt) found.push(receipt);
      const logTime = receipt?.logTime ?? failure?.logTime ?? 0;
      if (logTime > 0) this.logTimes.set(key, logTime);
    };
    const { sequence } = this;
    for (const address of this.addresses) {
      const part = { sequence, lowWater: sequence, sessionTime: this.logTimes.get(key) ?? 0, attempt };
      const increment = { delta: 1, ttlMs: 0 };
      if (this.session(address).send(key, { operation: 'increment', increment, ...part }, take)) open += 1;
    }
    const until = performance.now() + ANSWER_MS;
    do await delay(POLL_MS);
    while (found.length === 0 && open > 0 && performance.now() < until);
    return found[0] ?? null;
  }

  close(): void {
    for (const session of this.sessions.values()) session.close();
  }
}

/** Each increment is sent until it is acknowledged, and then once more: it counts once, and is answered the same. */
export class Repeats implements Workload {
  readonly name = 'repeats';
  readonly text = 'a request that is sent again takes effect once, and is answered as at first';
  private repeaters: Repeater[] = [];

  start(bench: Workbench): void {
    // It needs nodes that are reached from here.
    if (bench.options.nodes.length === 0) return;
    const keys = bench.keysOf('repeat', 1);
    this.repeaters = Array.from({ length: LANES }, () => new Repeater(bench.options));
    for (const repeater of this.repeaters)
      bench.lane(() => this.step(bench, repeater, bench.pick(keys)), bench.options.paceMs * 2);
  }

  private async step(bench: Workbench, repeater: Repeater, key: string): Promise<void> {
    repeater.next();
    const call = nowUs();
    let first: Receipt | null = null;
    for (let attempt = 1; nowUs() - call < GIVE_UP_MS * 1_000; attempt += 1) {
      const receipt = await repeater.send(key, attempt);
      if (receipt === null) continue;
      if (first === null) {
        first = receipt;
        record(bench, repeater, key, call, outputOf(receipt));
        continue;
      }
      bench.held('G4');
      if (receipt.version !== first.version || Number(receipt.counter) !== Number(first.counter))
        bench.breach('G4', key, `counts ${first.counter}, and ${receipt.counter} when it is sent again`);
      return;
    }
    if (first === null) record(bench, repeater, key, call, { result: 'unknown', code: 'DEADLINE_EXCEEDED' });
  }

  /** What they count to is judged with all other histories. */
  async verify(bench: Workbench): Promise<void> {
    for (const repeater of this.repeaters) repeater.close();
    for (const key of bench.keysOf('repeat', 1)) await bench.client(0).get(key, { timeoutMs: VERIFY_MS });
  }
}

function outputOf({ version, counter }: Receipt): HistoryOutput {
  return { result: 'ok', version, value: Number(counter), durability: 'quorum' };
}

function record(
  bench: Workbench,
  { name }: Repeater,
  key: string,
  call: number,
  output: HistoryOutput,
): void {
  const { keyspace } = bench.options;
  const what = { client: name, keyspace, key, op: 'increment', input: 1 } as const;
  bench.history.push({ ...what, call, return: nowUs(), output });
}
