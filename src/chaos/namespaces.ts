/**
 * A network of its own for the processes of a cluster: a network namespace for each of them, all on one bridge in the namespace of
 * this process, where clients reach them. Faults are rules of nftables inside the namespaces that were made here.
 * INVARIANT: nothing is changed in the first namespace of the system: `missing` says so where this process is in it.
 * INVARIANT: `close` leaves no namespace, interface or rule; if this process is killed they go with its own namespaces, which
 * scripts/test-rooted.sh makes.
 */
import { readlinkSync } from 'node:fs';
import { assert } from '../common/errors.ts';
import type { Way } from './faults/split-shapes.ts';
import type { Launch } from './process.ts';
import { missingPrograms, missingRoot, runProgram } from './tools.ts';

const BRIDGE = 'ringkeep0';
/** Nobody else is there: the namespace is our own. */
const SUBNET = '10.77.0';
/** Variable that holds the name of the namespace before. */
const NETWORK_BEFORE = 'RINGKEEP_NETWORK_BEFORE';
const OWN_HOST = `${SUBNET}.1`;

/** What is done to packets, as the end of a rule of nftables. */
export type Verdict = 'drop' | 'reject with tcp reset';

/** Rules that are on. */
export interface Rules {
  /** Packets that they were applied to. */
  count(): Promise<number>;
  /** Takes them away. Idempotent. */
  remove(): Promise<void>;
}

/** The namespaces of one cluster. */
export class Namespaces {
  private readonly names: readonly string[];
  private tables = 0;

  private constructor(names: readonly string[]) {
    this.names = names;
  }

  /** Why there can be no such network here; null: it can. */
  static missing(): string | null {
    const absent = missingPrograms('ip', 'nft') ?? missingRoot();
    if (absent !== null) return absent;
    // Whoever has made the present namespace says from which one. The first process's cannot always be asked for.
    const before = process.env[NETWORK_BEFORE];
    const own = before !== undefined && before !== readlinkSync('/proc/self/ns/net');
    return own ? null : 'it needs a network namespace of its own: npm run test:netns';
  }

  /** Makes a namespace for each name. Rejects with RingkeepError NOT_READY. */
  static async open(names: readonly string[]): Promise<Namespaces> {
    const network = new Namespaces(names);
    try {
      const links = names.flatMap((name, at) => [
        `netns add ${spaceOf(name)}`,
        `link add rk${at} type veth peer name eth0 netns ${spaceOf(name)}`,
        `link set rk${at} master ${BRIDGE} up`,
      ]);
      const bridge = [`link add ${BRIDGE} type bridge`, `addr add ${OWN_HOST}/24 dev ${BRIDGE}`];
      await runProgram('ip', ['-batch', '-'], [...bridge, `link set ${BRIDGE} up`, ...links, ''].join('\n'));
      for (const name of names) {
        const inside = [
          `addr add ${network.host(name)}/24 dev eth0`,
          'link set lo up',
          'link set eth0 up',
          '',
        ];
        await runProgram('ip', ['-n', spaceOf(name), '-batch', '-'], inside.join('\n'));
      }
      return network;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  /** Where a process listens. */
  host(name: string): string {
    const at = this.names.indexOf(name);
    assert(at >= 0, `there is a namespace for ${name}`);
    return `${SUBNET}.${at + 2}`;
  }

  /** Starts a process in its namespace, under the pid that it is spawned with. */
  launcher(name: string): (launch: Launch) => Launch {
    return ({ file, args, env }) => ({
      file: 'ip',
      args: ['netns', 'exec', spaceOf(name), file, ...args],
      env,
    });
  }

  /** Applies a verdict to the packets that go these ways, `part` of them, where they arrive. */
  async apply(ways: readonly Way[], verdict: Verdict, part = 1): Promise<Rules> {
    this.tables += 1;
    const table = `chaos_${this.tables}`;
    const receivers = [...new Set(ways.map(({ to }) => to))];
    const chance = part < 1 ? `numgen random mod 1000 < ${Math.round(part * 1_000)}` : '';
    const protocol = verdict === 'drop' ? '' : 'meta l4proto tcp';
    for (const to of receivers) {
      const senders = ways.filter((way) => way.to === to).map(({ from }) => this.host(from));
      const rule = `ip saddr { ${senders.join(', ')} } ${protocol} ${chance} counter ${verdict}`;
      const chain = `type filter hook input priority 0; policy accept; ${rule};`;
      await this.nft(to, ['-f', '-'], `table inet ${table} {\n chain input {\n ${chain}\n }\n}\n`);
    }
    const count = async (): Promise<number> => {
      const texts = await Promise.all(receivers.map((to) => this.nft(to, ['list', 'table', 'inet', table])));
      return texts
        .flatMap((text) => [...text.matchAll(/counter packets (\d+)/g)])
        .reduce((sum, [, packets]) => sum + Number(packets), 0);
    };
    let removed: Promise<void> | null = null;
    const removeAll = async (): Promise<void> => {
      await Promise.all(receivers.map((to) => this.nft(to, ['delete', 'table', 'inet', table])));
    };
    const remove = (): Promise<void> => {
      removed ??= removeAll();
      return removed;
    };
    return { count, remove };
  }

  /** The rules in a process's namespace; empty: none. */
  rules(name: string): Promise<string> {
    return this.nft(name, ['list', 'ruleset']);
  }

  private nft(name: string, args: readonly string[], input = ''): Promise<string> {
    return runProgram('ip', ['netns', 'exec', spaceOf(name), 'nft', ...args], input);
  }

  /** Removes everything; the processes in it should be gone. */
  async close(): Promise<void> {
    for (const [at, name] of this.names.entries()) {
      // A namespace stays as long as a process is in it, with its end of the link.
      await runProgram('ip', ['link', 'delete', `rk${at}`]).catch(() => {});
      await runProgram('ip', ['netns', 'delete', spaceOf(name)]).catch(() => {});
    }
    await runProgram('ip', ['link', 'delete', BRIDGE]).catch(() => {});
  }
}

function spaceOf(name: string): string {
  return `ringkeep-${name}`;
}
