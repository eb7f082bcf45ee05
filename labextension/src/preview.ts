import { el, icon } from './dom';
import { type Preview, textOf } from './protocol';

const MAX_DIFF_LINES = 2000;

// What a reader cannot see or would misread: control, soft hyphen, zero-width, bidirectional, odd spaces, tags.
const HIDDEN: readonly (readonly [number, number])[] = [
  [0x00, 0x08],
  [0x0b, 0x1f],
  [0x7f, 0xa0],
  [0xad, 0xad],
  [0x034f, 0x034f],
  [0x061c, 0x061c],
  [0x115f, 0x1160],
  [0x17b4, 0x17b5],
  [0x180b, 0x180e],
  [0x2000, 0x200f],
  [0x2028, 0x202f],
  [0x205f, 0x206f],
  [0x3000, 0x3000],
  [0x3164, 0x3164],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
  [0xffa0, 0xffa0],
  [0xfff9, 0xfffb],
  [0xe0000, 0xe01ef]
];
const ESCAPE = /^\\(?:r|u\{[0-9a-f]+\})/;

interface Piece {
  text: string;
  isEscape: boolean;
}

/**
 * `text` as it may be shown: each hidden character as an escape of its own piece. `visible` is the core's rendering of
 * the same text and wins; where a piece of it is no character of `text`, it is an escape.
 */
export function visiblePieces(text: string, visible: string): Piece[] {
  const pieces: Piece[] = [];
  const push = (part: string, isEscape: boolean): void => {
    const last = pieces[pieces.length - 1];
    if (last?.isEscape === isEscape && !isEscape) {
      last.text += part;
    } else {
      pieces.push({ text: part, isEscape });
    }
  };
  let at = 0;
  for (const character of text) {
    if (visible === '' || visible.startsWith(character, at)) {
      if (visible !== '') {
        at += character.length;
      }
      const code = character.codePointAt(0) ?? 0;
      if (HIDDEN.some(([first, last]) => code >= first && code <= last)) {
        push(`\\u{${code.toString(16)}}`, true);
      } else {
        push(character, false);
      }
      continue;
    }
    const escape = ESCAPE.exec(visible.slice(at, at + 16))?.[0];
    if (escape === undefined) {
      break; // not the text we were given: show what the core says, all of it marked
    }
    push(escape, true);
    at += escape.length;
  }
  if (visible !== '' && at < visible.length) {
    push(visible.slice(at), true);
  }
  return pieces;
}

/** A command or code in full, in a monospaced block; `visible` as in `visiblePieces`. */
export function codeBlock(text: string, visible: string, label: string): HTMLElement {
  const pieces = visiblePieces(text, visible);
  const code = el('code', '');
  for (const piece of pieces) {
    code.append(piece.isEscape ? el('mark', 'claw-Escape', piece.text) : piece.text);
  }
  const block = el('pre', 'claw-Code', code);
  block.setAttribute('aria-label', label);
  block.tabIndex = 0; // so that a keyboard can scroll it
  if (!pieces.some(piece => piece.isEscape)) {
    return block;
  }
  const warning = el(
    'div',
    'claw-Warning',
    icon('warning'),
    'Contains hidden characters, shown here as marked escapes.'
  );
  return el('div', '', warning, block);
}

/** A unified diff with its lines coloured. */
export function diffBlock(diff: string): HTMLElement {
  const block = el('pre', 'claw-Diff');
  block.setAttribute('aria-label', 'Diff');
  block.tabIndex = 0;
  const lines = diff.replace(/\n$/, '').split('\n');
  // Only above the hunks: in one, a line `-- a comment` that goes is `--- a comment`.
  let isHeading = true;
  for (const line of lines.slice(0, MAX_DIFF_LINES)) {
    isHeading = line.startsWith('diff ') || (isHeading && !line.startsWith('@@'));
    const row = el('span', `claw-Diff-line ${isHeading ? 'claw-mod-note' : diffLineClass(line)}`);
    for (const piece of visiblePieces(line, '')) {
      row.append(piece.isEscape ? el('mark', 'claw-Escape', piece.text) : piece.text);
    }
    row.append('\n');
    block.append(row);
  }
  if (lines.length > MAX_DIFF_LINES) {
    block.append(el('span', 'claw-Diff-line claw-mod-note', `… ${lines.length - MAX_DIFF_LINES} more lines\n`));
  }
  return block;
}

function diffLineClass(line: string): string {
  if (line.startsWith('\\')) {
    return 'claw-mod-note';
  }
  if (line.startsWith('@@')) {
    return 'claw-mod-hunk';
  }
  return line.startsWith('+') ? 'claw-mod-added' : line.startsWith('-') ? 'claw-mod-removed' : '';
}

/** The preview of a call, or null where there is nothing to show. */
export function previewBlock(preview: Preview): HTMLElement | null {
  switch (preview.kind) {
    case 'command': {
      const block = codeBlock(textOf(preview.command), textOf(preview.visible), 'Command');
      return preview.cwd ? el('div', '', block, el('div', 'claw-Where', 'in ', el('code', '', preview.cwd))) : block;
    }
    case 'code':
      return codeBlock(textOf(preview.code), textOf(preview.visible), 'Code');
    case 'diff': {
      const path = el('div', 'claw-Where', preview.is_new ? 'new file ' : '', el('code', '', textOf(preview.path)));
      // The path stands above: the diff's own heading would say it twice more.
      return el('div', '', path, diffBlock(textOf(preview.diff).replace(/^--- .*\n\+\+\+ .*\n(?=@@)/, '')));
    }
    case 'path':
      return codeBlock(textOf(preview.path), '', 'Path');
    case 'none':
      return null;
    default:
      return null; // a kind of a later version: the title says what it is
  }
}
