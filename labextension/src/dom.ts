/** Making and changing elements. Text from a model, a tool or a file reaches the page by these functions only: as text. */

type Child = Node | string;

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

/** Set an element's text and keep the reader's selection where the old text only grew. */
export function setText(element: HTMLElement, text: string): void {
  const first = element.firstChild;
  if (first instanceof Text && first === element.lastChild) {
    if (first.data === text) {
      return;
    }
    if (text.startsWith(first.data)) {
      first.appendData(text.slice(first.data.length));
      return;
    }
  }
  element.replaceChildren(...(text ? [text] : []));
}

/** Set a sentence, with what stands between backticks as code. */
export function setSentence(element: HTMLElement, text: string): void {
  const plain = text.replace(/`([^`]+)`/g, '$1');
  if (element.textContent !== plain) {
    const parts = text.split(/`([^`]+)`/);
    element.replaceChildren(
      ...parts.map((part, index) => (index % 2 === 1 ? el('code', 'claw-InlineCode', part) : part))
    );
  }
}

export function setHidden(element: HTMLElement, isHidden: boolean): void {
  if (element.hidden !== isHidden) {
    element.hidden = isHidden;
  }
}

const ICON_PATHS = {
  writing: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  waiting: 'M5.8 6a2.2 2.2 0 1 1 3.3 1.9c-.8.5-1.1.9-1.1 1.7M8 12h.01',
  running: 'M8 2.5a5.5 5.5 0 1 1-5.5 5.5',
  done: 'M3 8.5l3.2 3.2L13 4.8',
  failed: 'M4 4l8 8M12 4l-8 8',
  denied: 'M8 2.5a5.5 5.5 0 1 0 .01 0M4.2 4.2l7.6 7.6',
  unfinished: 'M5 5h6v6H5z',
  pending: 'M8 3.2a4.8 4.8 0 1 0 .01 0',
  current: 'M3 8h9M8.5 4.5L12 8l-3.5 3.5',
  warning: 'M8 2.2L14.2 13H1.8zM8 6.4v3M8 11.2h.01'
} as const;

export type IconName = keyof typeof ICON_PATHS;

const ICON_LABELS: Record<IconName, string> = {
  writing: 'being written',
  waiting: 'waits for an answer',
  running: 'running',
  done: 'done',
  failed: 'failed',
  denied: 'denied',
  unfinished: 'not finished',
  pending: 'to do',
  current: 'in progress',
  warning: 'warning'
};

/** A small drawing with its meaning for screen readers. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('class', `claw-Icon claw-mod-${name}`);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', ICON_LABELS[name]);
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICON_PATHS[name]);
  svg.append(path);
  return svg;
}

export function button(label: string, modifier = ''): HTMLButtonElement {
  const element = el('button', `claw-Button ${modifier}`.trim(), label);
  element.type = 'button';
  return element;
}

/** Terminal output as plain text: escape sequences removed, a carriage return starts its line anew. */
export function plainText(text: string): string {
  const escapes =
    // eslint-disable-next-line no-control-regex
    /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[@-Z\\-_])/g;
  const clean = text.includes('\u001b') ? text.replace(escapes, '') : text;
  return clean.includes('\r')
    ? clean
        .replace(/\r+\n/g, '\n')
        .replace(/[^\n]*\r(?=[^\n])/g, '')
        .replace(/\r/g, '')
    : clean;
}

/** `0.3 s`, `12 s`, `2 min 5 s`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) {
    return `${seconds.toFixed(1)} s`;
  }
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
