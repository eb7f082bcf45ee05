import type { IRenderMime } from '@jupyterlab/rendermime';

/** What loads an address by being in a page. */
const LOADING = 'img, source, video, audio, track, input[type="image"], image, link, object, embed, iframe';

/**
 * For Markdown that a model wrote: JupyterLab's sanitizer, and nothing in the result loads an address by itself. A model
 * that was talked into it could otherwise send what it knows to anybody, in the address of an image, just by being shown.
 */
export class QuietSanitizer implements IRenderMime.ISanitizer {
  constructor(private readonly inner: IRenderMime.ISanitizer) {}

  readonly allowNamedProperties = false;
  readonly allowCommandLinker = false;

  getAutolink(): boolean {
    return this.inner.getAutolink?.() ?? true;
  }

  sanitize(dirty: string, options?: IRenderMime.ISanitizerOptions): string {
    // A document of the parser's is inert: nothing in it is fetched.
    const page = new DOMParser().parseFromString(this.inner.sanitize(dirty, options), 'text/html');
    for (const node of page.querySelectorAll(LOADING)) {
      const address = node.getAttribute('src') ?? node.getAttribute('href') ?? '';
      if (node.tagName === 'IMG' && /^(?:data:image\/|attachment:)/i.test(address)) {
        node.removeAttribute('srcset');
        continue;
      }
      node.replaceWith(placeholder(page, node.getAttribute('alt') ?? '', address));
    }
    for (const node of page.querySelectorAll('[style], [background]')) {
      node.removeAttribute('background');
      if (/url|image|\\/i.test(node.getAttribute('style') ?? '')) {
        node.removeAttribute('style');
      }
    }
    // eslint-disable-next-line no-restricted-properties -- read, not written
    return page.body.innerHTML;
  }
}

/** The image's words and a link, which a person may follow or not. */
function placeholder(page: Document, words: string, address: string): Node {
  if (!/^https?:/i.test(address)) {
    return page.createTextNode(`[image: ${words || address}]`);
  }
  const link = page.createElement('a');
  link.href = address;
  link.rel = 'noopener noreferrer';
  link.target = '_blank';
  link.textContent = `[image: ${words || address}]`;
  return link;
}
