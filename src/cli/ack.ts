/**
 * The command `ack`: shows and sets at which level writes are acknowledged that name none, for the cluster and by keyspace.
 * That is part of the cluster's configuration and holds for every client; a router stores it, and leaders look it up.
 */
import { Argument, type Command } from 'commander';
import type { Ack } from '../client/index.ts';
import { ackName } from '../client/options.ts';
import { ACK_DEFAULTS, type AckDefaults, type AckLevel } from '../common/topology.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import { makeHello } from '../common/wire/handshake.ts';
import { ACK_LEVELS, atCluster, type ClusterOptions, clusterStatus, withCluster } from './common-options.ts';
import { EXIT, print, printJson } from './output.ts';

interface AckFlags extends ClusterOptions {
  readonly keyspace: string;
  readonly unset: boolean;
}

/** Default levels in the output of `ack --json` and `status --json`. */
export interface ShownAcks {
  readonly cluster: Ack;
  /** Keyspaces with a default of their own, by name. */
  readonly keyspaces: readonly { readonly keyspace: string; readonly ack: Ack }[];
}

const SHOWN: Readonly<Record<AckLevel, Ack>> = { ACK_LEADER: 'leader', ACK_QUORUM: 'quorum', ACK_ALL: 'all' };

/** Returns default levels as they are shown; of a cluster that has none set, `quorum`. */
export function showAcks(acks: AckDefaults | null | undefined): ShownAcks {
  const { cluster, keyspaces } = acks ?? ACK_DEFAULTS;
  return {
    cluster: SHOWN[cluster],
    keyspaces: keyspaces.map(({ keyspace, ack }) => ({ keyspace, ack: SHOWN[ack] })),
  };
}

async function change(flags: AckFlags, level: Ack | null): Promise<AckDefaults> {
  const wanted = { keyspace: flags.keyspace, ack: ackName(level) };
  return atCluster(flags, (address, timeoutMs) =>
    grpcConnector.setAck(address, makeHello({ role: 'client' }), wanted, timeoutMs),
  );
}

function text({ cluster, keyspaces }: ShownAcks): string {
  const own = keyspaces.map(({ keyspace, ack }) => `keyspace ${keyspace}: ${ack}`);
  return [`cluster: ${cluster}`, ...own].join('\n');
}

/** Adds the command `ack`. `done` is told its exit status. */
export function addAckCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('ack').description('show or set when writes are acknowledged by default');
  const level = new Argument('[level]', 'the new default; none: show those that are set');
  withCluster(command)
    .addArgument(level.choices(ACK_LEVELS))
    .option('--keyspace <name>', 'of this keyspace instead of the whole cluster', '')
    .option('--unset', 'let the keyspace have the default of the cluster again', false)
    .addHelpText(
      'after',
      '\nExamples:\n  ringkeep ack\n  ringkeep ack all --keyspace orders\n  ringkeep ack --unset --keyspace orders\n',
    )
    .action(async (wanted: Ack | undefined, flags: AckFlags) => {
      if (flags.unset && (wanted !== undefined || flags.keyspace === ''))
        command.error("error: option '--unset' goes with '--keyspace <name>' and without a level");
      if (wanted === undefined && !flags.unset && flags.keyspace !== '')
        command.error("error: option '--keyspace <name>' goes with a level or '--unset'");
      const acks =
        wanted === undefined && !flags.unset
          ? (await clusterStatus(flags)).topology?.acks
          : await change(flags, wanted ?? null);
      const shown = showAcks(acks);
      if (flags.json) await printJson(shown);
      else await print(text(shown));
      done(EXIT.OK);
    });
}
