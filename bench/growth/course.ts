/**
 * The course of growth: for every dimension its points, smallest first, each a run of puts and a run of gets on a cluster of
 * its own, or on one that grows with it. What fails is noted, and the next point starts anew.
 * INVARIANT: one cluster runs at a time.
 */
import { messageOf } from '../program.ts';
import { type Host, Session } from '../session.ts';
import type { Dimension, Point } from './dimensions.ts';
import { figuresOf, type MeasuredPoint, worstOf } from './figures.ts';

/** A point that could not be measured. */
export interface PointFailure {
  readonly x: number;
  readonly message: string;
}

async function measure(session: Session, point: Point): Promise<MeasuredPoint> {
  const load = await session.load(point);
  const puts = figuresOf(await session.run(point, 1));
  const gets = figuresOf(await session.run(point, 0));
  const storage = worstOf([...(await session.storage()).values()]);
  const { x, records, valueBytes, partitions, nodes, inFlight } = point;
  return { x, records, valueBytes, partitions, nodes, inFlight, load, puts, gets, storage };
}

/** Measures the points of a dimension; `measured` is told of each. Rejects only when stopped. */
export async function growAlong(
  points: readonly Point[],
  host: Host,
  measured: (dimension: Dimension, point: MeasuredPoint) => void,
): Promise<PointFailure[]> {
  const failures: PointFailure[] = [];
  let session: Session | null = null;
  const end = async (): Promise<void> => {
    const ending = session;
    session = null;
    await ending?.close();
  };
  try {
    for (const point of points) {
      host.stopped.throwIfAborted();
      try {
        if (!point.goesOn) await end();
        session ??= await Session.open(point, host);
        measured(point.dimension, await measure(session, point));
      } catch (error) {
        host.stopped.throwIfAborted();
        await end();
        failures.push({ x: point.x, message: messageOf(error) });
        host.say(`${point.dimension} ${point.x} failed: ${messageOf(error)}`);
      }
    }
    return failures;
  } finally {
    await end();
  }
}
