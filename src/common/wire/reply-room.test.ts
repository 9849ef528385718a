import { expect, it } from 'vitest';
import { ReplyRoom } from './reply-room.ts';

const MIB = 1024 * 1024;

/** Starts reads until it may not. */
function fill(room: ReplyRoom, unread = 0): number {
  let count = 0;
  while (count < 100_000 && room.mayStart(unread)) {
    room.expect();
    count += 1;
  }
  return count;
}

it('starts carefully, and follows what answers turn out to be', () => {
  const room = new ReplyRoom(8 * MIB);
  expect(fill(room)).toBe(32);
  for (let n = 0; n < 8; n += 1) room.answered(null);
  expect(fill(room)).toBe(8);
  for (let n = 0; n < 32; n += 1) room.answered(100);
  const more = fill(room);
  expect(more).toBeGreaterThan(1_000);
  for (let n = 0; n < more; n += 1) room.answered(MIB);
  expect(fill(room)).toBe(8);
});

it('starts nothing for a client that leaves its answers unread', () => {
  const room = new ReplyRoom(8 * MIB);
  for (let n = 0; n < 100; n += 1) {
    room.expect();
    room.answered(MIB);
  }
  expect(fill(room, 5 * MIB)).toBe(3);
  for (let n = 0; n < 3; n += 1) room.answered(MIB);
  expect(fill(room, 8 * MIB)).toBe(0);
});

it('always lets a stream start a read whose answers are read', () => {
  const room = new ReplyRoom(1 * MIB);
  for (let n = 0; n < 50; n += 1) {
    expect(room.mayStart(0)).toBe(true);
    room.expect();
    room.answered(8 * MIB);
  }
  expect(fill(room)).toBe(1);
  room.clear();
  expect(fill(room)).toBe(1);
});
