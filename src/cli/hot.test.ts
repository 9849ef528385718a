import { expect, it } from 'vitest';
import { hotText } from './hot.ts';

const RATES = { reads: 120.4, writes: 2.25, share: 0.5 };

it('shows keys, partitions and nodes, and who is missing', () => {
  const text = hotText({
    ...{ seconds: 14.4, reads: 240, writes: 4.5 },
    keys: [{ ...RATES, keyspace: '', key: Buffer.from('user:1'), partition: 7, error: 0 }],
    partitions: [{ ...RATES, partition: 7 }],
    nodes: [
      { ...RATES, node: 'n1', problem: '' },
      { ...RATES, node: 'n2', problem: 'it is away' },
    ],
    salts: [],
  });
  expect(text.split('\n')).toEqual([
    '240 reads and 4.5 writes per second, of about the last 14 s.',
    'Without n2: it is away',
    '',
    'KEY       KEYSPACE  PARTITION  READS/S  WRITES/S  SHARE',
    '"user:1"  -         7          120      2.3       50.0 %',
    '',
    'PARTITION  READS/S  WRITES/S  SHARE',
    '7          120      2.3       50.0 %',
    '',
    'NODE  READS/S  WRITES/S  SHARE',
    'n1    120      2.3       50.0 %',
  ]);
});

it('says that there is nothing', () => {
  const none = { seconds: 3, reads: 0, writes: 0, keys: [], partitions: [], nodes: [], salts: [] };
  expect(hotText(none)).toBe(
    '0.0 reads and 0.0 writes per second, of about the last 3 s.\nNo key has been asked for.',
  );
});

it('shows what is salted, also when nothing has been asked for', () => {
  const salted = {
    ...{
      keyspace: 'pages',
      key: Buffer.from('front'),
      partition: 5,
      node: 'n1',
      waitingWrites: 1,
      automatic: false,
    },
    copies: [
      { partition: 7, node: 'n2', held: true },
      { partition: 9, node: '', held: false },
    ],
  };
  const none = { seconds: 3, reads: 0, writes: 0, keys: [], partitions: [], nodes: [] };
  expect(
    hotText({ ...none, salts: [salted, { ...salted, copies: [], automatic: true }] })
      .split('\n')
      .slice(2),
  ).toEqual([
    '',
    'SALTED KEY  KEYSPACE  HOME              COPIES                                  WRITES WAITING  BY',
    '"front"     pages     n1 (partition 5)  n2 (partition 7); partition 9, not now  1               hand',
    '"front"     pages     n1 (partition 5)  -                                       1               itself',
  ]);
});
