import { formatSeconds } from './dom';
import type { TurnRecord } from './protocol';

export function formatUsage({ usage }: TurnRecord): string {
  if (!usage) {
    return '';
  }
  const cached = usage.cache_read_tokens ?? 0;
  const input = (usage.input_tokens ?? 0) + cached + (usage.cache_write_tokens ?? 0);
  const note = cached > 0 ? ` (${cached.toLocaleString('en')} cached)` : '';
  const least = usage.is_least ? 'at least ' : '';
  return `${least}${input.toLocaleString('en')} in${note} / ${(usage.output_tokens ?? 0).toLocaleString('en')} out`;
}

/** While a turn runs its price may not be known yet: then nothing is said of it. */
export function formatCost({ cost_usd: cost, usage, live }: TurnRecord): string {
  if (typeof cost === 'number') {
    return cost === 0 ? '$0' : cost < 0.01 ? `$${cost.toFixed(4)}` : `$${cost.toFixed(2)}`;
  }
  return usage && !live ? 'cost unknown' : '';
}

export function formatElapsed(record: TurnRecord): string {
  const seconds = Math.floor((Date.now() - Date.parse(record.started_at ?? '')) / 1000);
  return seconds >= 1 ? formatSeconds(seconds).replace('.0', '') : '';
}
