/**
 * Finds out whether the address that a node advertises leads to that node: the router connects to it when the node attaches, and
 * says what it found, in its log, to the node and in its status. A node whose address is wrong looks well from here, since it
 * dials; but no request and no entry will ever reach it.
 * It tells and decides nothing: a node behind a cut network is attached all the same.
 * INVARIANT: nothing is told before two attempts in a row have failed, so that a hiccup at the start is no news.
 */
import type { Clock } from '../common/clock.ts';
import type { RingkeepError } from '../common/errors.ts';
import { PROTOCOL_MAX } from '../common/limits.ts';
import type { Log } from '../common/log.ts';
import type { Connector, Peer, Session } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { AddressCheck } from '../common/wire/messages.ts';

/** A node that cannot be reached where it says. */
export interface AddressTrouble {
  readonly node: string;
  readonly address: string;
  /** What happened instead. */
  readonly trouble: string;
}

export interface AddressCheckOptions {
  readonly connector: Pick<Connector, 'openSession'>;
  /** Where this process connects to for a node's advertised address. */
  readonly addressOf: (node: { readonly id: string; readonly address: string }) => string;
  readonly log: Log;
  readonly clock: Clock;
  /** The highest protocol version to speak; default: PROTOCOL_MAX. */
  readonly protocolMax?: number;
}

const FAILURES_TOLD = 2;
/** Between two attempts: before something is told, and from then on. */
const RETRY_MS = 500;
const RETRY_TOLD_MS = 5_000;

/** One node, from its registration to the answer, or to its end. */
class Check {
  readonly address: string;
  readonly #options: AddressCheckOptions;
  readonly #peer: Peer;
  readonly #advertised: string;
  readonly #tell: (check: AddressCheck) => void;
  #session: Session | undefined;
  #cancel = (): void => {};
  #failures = 0;
  #stopped = false;
  /** Empty: none is known. */
  trouble = '';

  constructor(
    options: AddressCheckOptions,
    peer: Peer,
    advertised: string,
    tell: (check: AddressCheck) => void,
  ) {
    this.#options = options;
    this.#peer = peer;
    this.#advertised = advertised;
    this.#tell = tell;
    this.address = options.addressOf({ id: peer.hello.nodeId, address: advertised });
    this.#attempt();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
    this.#session?.close();
  }

  #attempt(): void {
    const { nodeId, clusterId, boot } = this.#peer.hello;
    const { protocolMax = PROTOCOL_MAX } = this.#options;
    const hello = makeHello({ role: 'router', clusterId, expectedNode: nodeId, protocolMax });
    let verdict: string | null = null;
    const session = this.#options.connector.openSession(this.address, hello, {
      onWelcome: (welcome) => {
        verdict = welcome.boot === boot ? '' : `another process answers there as ${nodeId}`;
        session.close();
      },
      onReplies: () => {},
      onGoaway: () => {},
      onEnd: (error) => this.#found(verdict ?? describe(error)),
    });
    this.#session = session;
  }

  #found(trouble: string): void {
    this.#session = undefined;
    if (this.#stopped) return;
    if (trouble === '') {
      if (this.trouble !== '') this.#announce('');
      return;
    }
    this.#failures += 1;
    const told = this.#failures >= FAILURES_TOLD;
    if (told && trouble !== this.trouble) this.#announce(trouble);
    this.#cancel = this.#options.clock.after(told ? RETRY_TOLD_MS : RETRY_MS, () => this.#attempt());
  }

  #announce(trouble: string): void {
    this.trouble = trouble;
    const { hello, remote } = this.#peer;
    // Both addresses: where it says it is, and where its own connection comes from.
    const fields = { node: hello.nodeId, address: this.#advertised, from: remote };
    const dialled = this.address === this.#advertised ? {} : { dialled: this.address };
    if (trouble === '') this.#options.log.info('node_address_reached', fields);
    else this.#options.log.error('node_address_unreachable', { ...fields, ...dialled, trouble });
    this.#tell({ address: this.address, trouble });
  }
}

function describe(error: RingkeepError): string {
  // Somebody is there: the message says who.
  return error.code === 'WRONG_NODE' ? error.message.replace('WRONG_NODE: ', '') : error.message;
}

/** The checks of all attached nodes. */
export class AddressChecks {
  readonly #options: AddressCheckOptions;
  readonly #checks = new Map<string, Check>();

  constructor(options: AddressCheckOptions) {
    this.#options = options;
  }

  /** A node has registered with an address; `tell` takes news to it. An earlier check of the same node ends. */
  attached(peer: Peer, advertised: string, tell: (check: AddressCheck) => void): void {
    const { nodeId } = peer.hello;
    this.detached(nodeId);
    this.#checks.set(nodeId, new Check(this.#options, peer, advertised, tell));
  }

  /** It is gone; what was found is forgotten. */
  detached(node: string): void {
    this.#checks.get(node)?.stop();
    this.#checks.delete(node);
  }

  /** Ends all checks. */
  stop(): void {
    for (const node of [...this.#checks.keys()]) this.detached(node);
  }

  /** Returns what is wrong at present. */
  troubles(): AddressTrouble[] {
    return [...this.#checks]
      .filter(([, { trouble }]) => trouble !== '')
      .map(([node, { address, trouble }]) => ({ node, address, trouble }));
  }
}
