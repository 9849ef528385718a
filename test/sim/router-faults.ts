/** Faults of routers: crashes, graceful restarts, clients and nodes that one of them does not reach. */
import type { Injection } from './injection.ts';
import { both, cutFor } from './network-faults.ts';

/** Hurts a router in one of these ways; its controller goes on. */
export function router(injection: Injection): boolean {
  const { routers, nodes, clients } = injection.cluster;
  const chosen = injection.pick(routers);
  const way = injection.between(0, 1);
  if (!chosen.running || chosen.stopping) return false;
  if (way < 0.6) {
    if (way < 0.4) chosen.crash();
    else chosen.stop(injection.between(20, 400));
    injection.later(injection.between(450, 1_500), () => chosen.start());
    return true;
  }
  const others = way < 0.85 ? nodes : clients;
  const links = others
    .filter(() => injection.chance(0.6))
    .flatMap(({ id }) => both(id, chosen.id).filter(() => injection.chance(0.8)));
  return cutFor(injection, `split of ${chosen.id}`, links, injection.between(50, 1_500));
}
