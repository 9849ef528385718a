import { describe, expect, it } from 'vitest';
import { get, open, put } from '../../test/support/histories.ts';
import type { HistoryEvent } from '../common/history.ts';
import { escapeHtml } from '../common/report/page.ts';
import { checkHistory } from './check.ts';
import { renderOperations, renderTimeline } from './timeline.ts';

const HOSTILE = '</title><script>alert("1")</script>';

async function render(events: readonly HistoryEvent[]): Promise<string> {
  return renderTimeline(await checkHistory(events), 'a history');
}

describe('renderTimeline', () => {
  const stale = [put('a', 1, [0, 10]), put('b', 2, [20, 30]), get('c', 1, [40, 50]), open('d', 'put', 3, 35)];

  it('draws the smallest illegal sub-history, numbers its order and marks where it gets stuck', async () => {
    const page = await render(stale);
    expect(page.match(/<rect /g)).toHaveLength(3);
    expect(page).toContain('1. put');
    expect(page).toContain('2. put');
    expect(page).toContain('✗ get');
    expect(page).toContain('c: get | 1 | 0.040 to 0.050 ms | no order goes on from here');
    expect(page).toContain('3 of 4 operations are enough to show it.');
    expect(page).toContain('<span class="illegal">illegal</span>');
  });

  it('loads nothing from anywhere and has a dark scheme', async () => {
    const page = await render(stale);
    expect(page).not.toMatch(/https?:|<script|<link|<img|url\(|@import/);
    expect(page).toContain('prefers-color-scheme: dark');
  });

  it('escapes keys, clients and values', async () => {
    const events = [put(HOSTILE, HOSTILE, [0, 10]), get(HOSTILE, `${HOSTILE}'`, [20, 30])];
    const page = await render(events.map((event) => ({ ...event, key: HOSTILE, keyspace: HOSTILE })));
    expect(page).not.toContain('<script');
    expect(page).not.toContain('alert("1")');
    expect(page.match(/<\/title>/g)!.length).toBe(page.match(/<title>/g)!.length);
    expect(escapeHtml(`<a b="c" d='e'>&\u0000\n`)).toBe(
      '&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;\ufffd ',
    );
  });

  it('gives operations of one client that overlap rows of their own', async () => {
    const page = await render([put('a', 1, [0, 50]), put('a', 2, [1, 60]), get('b', 3, [70, 80])]);
    const legal = await render(stale.slice(0, 2));
    expect(legal).toContain('Every key has an order');
    expect(legal).not.toContain('<svg');
    expect(page).toContain('shows a value that nobody had written');
  });
});

describe('renderOperations', () => {
  it('draws the operations on a key without an order, and says what is wrong and what is left out', () => {
    const events = [put('a', 1, [0, 10]), get('b', 2, [20, 30])];
    const shown = { keyspace: '', key: HOSTILE, reason: 'G1: it is gone', events, earlier: 7 };
    const part = renderOperations(shown);
    expect(part.match(/<rect /g)).toHaveLength(2);
    expect(part).toContain('G1: it is gone.');
    expect(part).toContain('7 earlier operations left out');
    expect(part).not.toContain('order<');
    expect(part).not.toContain('in the order');
    expect(part).not.toContain('<script');
    expect(renderOperations({ ...shown, events: [], earlier: 0 })).not.toContain('<svg');
  });
});
