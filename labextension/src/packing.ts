/** Long outputs in a record (docs/record.md, "Long outputs"): the readable glimpse, and the whole of it when a person looks. */

import { isObject, textOf, type ToolResult } from './protocol';

/** As in `claw_kernel/session/packing.py`: what swells more is a stranger's trick. */
const MAX_RATIO = 50;

/** Whether anything in the result is packed. */
export function isPacked(result: ToolResult | null): boolean {
  return (result?.content ?? []).some(block => packedOf(block) !== '');
}

/** The result with its texts unpacked; one that cannot be keeps its glimpse. */
export async function unpacked(result: ToolResult): Promise<ToolResult> {
  const content = await Promise.all(
    (result.content ?? []).map(async block => {
      const packed = packedOf(block);
      const text = packed && block.type === 'text' ? await unpack(packed).catch(() => null) : null;
      return text === null ? block : { type: 'text' as const, text };
    })
  );
  return { ...result, content };
}

function packedOf(block: unknown): string {
  const stored = isObject(block) ? block.stored : null;
  return isObject(stored) ? textOf(stored.packed) : '';
}

async function unpack(packed: string): Promise<string> {
  const bytes = Uint8Array.from(atob(packed), character => character.charCodeAt(0));
  const inflated = new Blob([bytes]).stream().pipeThrough<Uint8Array>(new DecompressionStream('deflate'));
  const reader = inflated.getReader();
  const decoder = new TextDecoder();
  let size = 0;
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return text + decoder.decode();
    }
    size += value.length;
    if (size > MAX_RATIO * packed.length) {
      await reader.cancel();
      throw new Error('The text is larger than it may be.');
    }
    text += decoder.decode(value, { stream: true });
  }
}
