/**
 * A progress line on stderr, for a terminal only; silent everywhere else, so that logs of scripts stay readable.
 * It shows what is done, not what is open.
 */
import { formatBytes } from '../../common/report/format.ts';
import { showLine } from '../output.ts';

const BAR_CELLS = 24;

/** How far an import has come. */
export interface ProgressFigures {
  readonly records: number;
  readonly bytes: number;
  /** Null if it is not known. */
  readonly bytesTotal: number | null;
}

/** Returns the text of a progress line. */
export function progressText(figures: ProgressFigures, seconds: number): string {
  const { records, bytes, bytesTotal } = figures;
  const rate = seconds > 0 ? Math.round(records / seconds) : 0;
  const tail = `${records.toLocaleString('en')} records, ${rate.toLocaleString('en')}/s`;
  if (bytesTotal === null || bytesTotal === 0) return `${formatBytes(bytes)}, ${tail}`;
  const part = Math.min(1, bytes / bytesTotal);
  const cells = Math.floor(part * BAR_CELLS);
  const bar = `${'#'.repeat(cells)}${'.'.repeat(BAR_CELLS - cells)}`;
  return `[${bar}] ${Math.floor(part * 100)} %  ${tail}`;
}

/** Redraws the progress line from `figures` until the returned function is called. */
export function showProgress(figures: () => ProgressFigures): () => void {
  const startedAt = performance.now();
  return showLine(() => progressText(figures(), (performance.now() - startedAt) / 1_000));
}
