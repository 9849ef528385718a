/** Every kind of fault that a run can inject without privileges, in the order in which they are listed; by what clusters. */
import type { FaultDriver } from './fault.ts';
import { CLIENT_FAULTS } from './faults/clients.ts';
import { CLOCK_FAULTS } from './faults/clocks.ts';
import { DIRECTORY_FAULTS } from './faults/directories.ts';
import { DISK_CALL_FAULTS } from './faults/disk-calls.ts';
import { LIMIT_FAULTS } from './faults/limits.ts';
import { MEMBER_FAULTS } from './faults/members.ts';
import { PROCESS_FAULTS } from './faults/processes.ts';
import { RUNNING_PROCESS_FAULTS, type RunningDriver } from './faults/running-processes.ts';
import { SLOW_LINKS } from './faults/slow-links.ts';
import { SPLITS } from './faults/splits.ts';
import { UPGRADE_FAULTS } from './faults/upgrades.ts';

/** All of them, in a cluster of the run's own. */
export const DRIVERS: readonly FaultDriver[] = [
  ...SPLITS,
  ...SLOW_LINKS,
  ...PROCESS_FAULTS,
  ...UPGRADE_FAULTS,
  ...DIRECTORY_FAULTS,
  ...CLIENT_FAULTS,
  ...DISK_CALL_FAULTS,
  ...CLOCK_FAULTS,
  ...LIMIT_FAULTS,
  ...MEMBER_FAULTS,
];

/** Those that can be made in a cluster that runs already and belongs to somebody else. Each is among the others by its name. */
export const RUNNING_DRIVERS: readonly RunningDriver[] = [...RUNNING_PROCESS_FAULTS, ...CLIENT_FAULTS];
