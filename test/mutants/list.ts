/**
 * All mutants: for every invariant of DESIGN section 5 at least one deliberate bug that the tests must catch, and by the
 * check that is meant for it. One that survives means that the check, or the fault that brings it out, is missing.
 * Of invariant 12 the bounds of stale reads and the copies of hot keys.
 */
import { BATCH_MUTANTS } from './batches.ts';
import { CLIENT_MUTANTS } from './clients.ts';
import { CONTROLLER_MUTANTS } from './controller.ts';
import { COUNTER_MUTANTS } from './counters.ts';
import { MOVE_MUTANTS } from './moves.ts';
import type { Mutant } from './mutant.ts';
import { READ_MUTANTS } from './reads.ts';
import { REPLICATION_MUTANTS } from './replication.ts';
import { SALT_MUTANTS } from './salts.ts';
import { SCRUB_MUTANTS } from './scrubs.ts';
import { STORAGE_MUTANTS } from './storage.ts';

/** The files that hold the mutants, where `search.ts --record` writes. */
export const LISTS = [
  'replication.ts',
  'controller.ts',
  'storage.ts',
  'clients.ts',
  'reads.ts',
  'batches.ts',
  'scrubs.ts',
  'moves.ts',
  'salts.ts',
  'counters.ts',
] as const;

/** Every mutant of this repository. */
export const MUTANTS: readonly Mutant[] = [
  ...REPLICATION_MUTANTS,
  ...CONTROLLER_MUTANTS,
  ...STORAGE_MUTANTS,
  ...CLIENT_MUTANTS,
  ...READ_MUTANTS,
  ...BATCH_MUTANTS,
  ...SCRUB_MUTANTS,
  ...MOVE_MUTANTS,
  ...SALT_MUTANTS,
  ...COUNTER_MUTANTS,
];
