/** Every kind of fault that a run can inject without privileges, in the order in which they are listed. */
import type { FaultDriver } from './fault.ts';
import { CLIENT_FAULTS } from './faults/clients.ts';
import { DIRECTORY_FAULTS } from './faults/directories.ts';
import { PROCESS_FAULTS } from './faults/processes.ts';
import { SLOW_LINKS } from './faults/slow-links.ts';
import { SPLITS } from './faults/splits.ts';

/** All of them. */
export const DRIVERS: readonly FaultDriver[] = [
  ...SPLITS,
  ...SLOW_LINKS,
  ...PROCESS_FAULTS,
  ...DIRECTORY_FAULTS,
  ...CLIENT_FAULTS,
];
