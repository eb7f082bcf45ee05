import { type IRenderMimeRegistry, MimeModel } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime';

import { el, setText } from './dom';
import type { FreeLayout } from './layout';

const MARKDOWN = 'text/markdown';
const LIST_ITEM = /^(?:[-*+]|\d{1,9}[.)])(?:\s|$)/;
// Long enough to tell a list item or a fence from prose, so that a cut never has to be taken back.
const DECIDABLE_LENGTH = 12;

/**
 * Where `text` can be cut into paragraphs that render alone as they would together: at blank lines outside of fences,
 * lists, indented and HTML blocks. Cuts before the end stay where they are while the text grows.
 */
export function cutMarkdown(text: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let at = 0;
  let fence = '';
  let isList = false;
  let isAfterBlank = false;
  while (at < text.length) {
    const end = text.indexOf('\n', at);
    const line = text.slice(at, end < 0 ? text.length : end);
    const isWhole = end >= 0;
    if (line.trim() === '') {
      isAfterBlank = true;
    } else {
      const isDecidable = isWhole || line.length >= DECIDABLE_LENGTH;
      const isItem = LIST_ITEM.test(line);
      if (isAfterBlank && fence === '' && isDecidable && at > start && !/^\s/.test(line) && !(isItem && isList)) {
        parts.push(text.slice(start, at));
        start = at;
        isList = false;
      }
      isList ||= isItem;
      const mark = /^ {0,3}(`{3,}|~{3,}|\$\$)/.exec(line)?.[1] ?? '';
      if (fence === '') {
        fence = mark === '$$' && line.trim().length > 2 && line.trim().endsWith('$$') ? '' : mark;
      } else if (mark.startsWith(fence) || (fence === '$$' && line.trim().endsWith('$$'))) {
        fence = '';
      }
      isAfterBlank = false;
    }
    at = end < 0 ? text.length : end + 1;
  }
  parts.push(text.slice(start));
  return parts;
}

/** Reference links and HTML reach across paragraphs: such a text is rendered whole. */
function isIndivisible(text: string): boolean {
  return /^ {0,3}(?:\[[^\]]+\]:\s|<[a-zA-Z!/])/m.test(text);
}

interface Part {
  text: string;
  host: HTMLElement;
  /** The source, until the first rendering is there: JupyterLab loads its renderer with the first Markdown of a page. */
  plain: HTMLElement;
  renderer: IRenderMime.IRenderer | null;
  isRendering: boolean;
}

/**
 * Growing Markdown. Finished paragraphs are rendered once and then left alone, so that a selection in them survives;
 * only the last one is rendered again, off-screen, and swapped in when ready.
 */
export class MarkdownText {
  readonly node = el('div', 'claw-Text');

  constructor(
    private readonly layout: FreeLayout,
    private readonly rendermime: IRenderMimeRegistry
  ) {}

  update(text: string, isFinal: boolean): void {
    if (text === this.text && isFinal === this.isFinal) {
      return;
    }
    this.text = text;
    this.isFinal = isFinal;
    const parts = (isFinal && isIndivisible(text) ? [text] : cutMarkdown(text)).map(part => part.trimEnd());
    while (this.parts.length > parts.length) {
      const part = this.parts.pop();
      part?.renderer?.dispose();
      part?.host.remove();
    }
    parts.forEach((source, index) => {
      let part = this.parts[index];
      if (!part) {
        const plain = el('div', 'claw-Text-plain');
        part = { text: '', host: el('div', 'claw-Text-part', plain), plain, renderer: null, isRendering: false };
        this.parts.push(part);
        this.node.append(part.host);
      }
      if (part.text !== source) {
        part.text = source;
        if (!part.renderer) {
          setText(part.plain, source);
        }
        void this.render(part);
      }
    });
  }

  private async render(part: Part): Promise<void> {
    if (part.isRendering) {
      return; // the loop below sees the newer text
    }
    part.isRendering = true;
    try {
      for (let rendered = ''; rendered !== part.text;) {
        if (part.renderer && isSelected(part.host)) {
          await selectionChanged();
          continue;
        }
        rendered = part.text;
        const renderer = this.rendermime.createRenderer(MARKDOWN);
        // Never trusted, in a notebook of one's own neither: a model wrote it, from whatever it has read.
        await renderer.renderModel(new MimeModel({ data: { [MARKDOWN]: rendered }, trusted: false }));
        if (this.layout.isDisposed || !this.parts.includes(part)) {
          renderer.dispose();
          return;
        }
        if (part.renderer) {
          this.layout.replaceWidget(part.renderer, renderer);
        } else {
          part.plain.remove();
          this.layout.addWidget(renderer, part.host);
        }
        part.renderer = renderer;
      }
    } finally {
      part.isRendering = false;
    }
  }

  private text = '';
  private isFinal = false;
  private readonly parts: Part[] = [];
}

/** Whether the reader is marking text in `node`. */
function isSelected(node: Node): boolean {
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(node, true);
}

function selectionChanged(): Promise<void> {
  return new Promise(resolve =>
    document.addEventListener(
      'selectionchange',
      () => {
        resolve();
      },
      { once: true }
    )
  );
}
