import { type Compaction, textOf } from './protocol';

/** One line, as `compaction_line` in claw_kernel/session/compaction.py has it. */
export function compactionLine(compaction: Compaction): string {
  const count = (Array.isArray(compaction.cleared) ? compaction.cleared : []).length;
  const what = compaction.summary
    ? 'the conversation so far is now sent as a summary'
    : count === 1
      ? 'the output of 1 older call is not sent any more'
      : `the outputs of ${count} older calls are not sent any more`;
  const [before, after] = [compaction.tokens_before, compaction.tokens_after].map(tokens =>
    typeof tokens === 'number' ? tokens.toLocaleString('en-US') : '0'
  );
  const reason = textOf(compaction.reason);
  return `${what}: about ${before} → ${after} tokens${reason ? ` (${reason})` : ''}`;
}
