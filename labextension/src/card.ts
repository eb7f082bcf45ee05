import type { KernelClient, Liveness } from './client';
import { el, setHidden, setText } from './dom';
import { type AnsweredBy, type AnswerName, type Approval, type ApprovalRequest, textOf } from './protocol';

const QUESTIONS: Record<string, string> = {
  Bash: 'run this command?',
  Python: 'run this code in your kernel?',
  Inspect: 'look at these variables?',
  Read: 'read this file?',
  Write: 'write this file?',
  Edit: 'change this file?',
  Glob: 'list these files?',
  Grep: 'search these files?'
};

const ANSWERS: Record<AnswerName, string> = {
  allow_once: 'Allowed once',
  allow_always: 'Allowed always',
  deny: 'Denied'
};

const WAYS: Record<AnsweredBy, string> = {
  extension: '',
  widget: ' in the widget',
  stdin: ' at the prompt',
  policy: ' by the policy',
  interrupt: ': the turn was interrupted'
};

let cards = 0;

/** How far below the visible part a question may begin and still count as what the reader is following. */
const FOLLOWED_PIXELS = 300;

/** Scroll just so far that the buttons are seen, where the reader is following this cell; elsewhere nothing moves. */
function showButtons(heading: HTMLElement, actions: HTMLElement): void {
  const port = heading.closest('.jp-WindowedPanel-outer, .jp-Notebook')?.getBoundingClientRect();
  const top = heading.getBoundingClientRect().top;
  if (port && top > port.top && top < port.bottom + FOLLOWED_PIXELS) {
    actions.scrollIntoView({ block: 'nearest' });
  }
}

/**
 * The question of one tool call and its answer: a heading, and a row that holds the buttons first and the answer
 * afterwards, of the same height, so that nothing below moves. What the call would do is drawn between the two.
 */
export class ApprovalCard {
  readonly heading = el('div', 'claw-Card-heading');
  readonly actions = el('div', 'claw-Card-actions');

  constructor(private readonly findClient: () => KernelClient | null) {
    const id = `claw-card-${++cards}`;
    this.question.id = id;
    this.heading.append(this.question, this.reason);
    for (const row of [this.heading, this.actions]) {
      // Enter and letters belong to the card here, not to the notebook's command mode.
      row.setAttribute('data-lm-suppress-shortcuts', 'true');
    }
    this.actions.setAttribute('role', 'group');
    this.actions.setAttribute('aria-labelledby', id);
    this.status.setAttribute('role', 'status');

    this.denyWithMessage.setAttribute('aria-expanded', 'false');
    this.input.placeholder = 'What should Claw do instead?';
    this.input.setAttribute('aria-label', 'Message to the model');
    this.messageRow.hidden = true;
    this.messageRow.append(this.input, this.send);
    // Last, so that long rules wrap below the other buttons and not between them.
    this.always.append(this.allowAlways, this.rules);
    this.buttonRow.append(this.allowOnce, this.deny, this.denyWithMessage, this.always);
    this.rules.id = `${id}-rules`;
    this.allowAlways.setAttribute('aria-describedby', this.rules.id);
    this.actions.append(this.buttonRow, this.messageRow, this.status);

    this.allowOnce.addEventListener('click', () => void this.answer('allow_once'));
    this.allowAlways.addEventListener('click', () => void this.answer('allow_always'));
    this.deny.addEventListener('click', () => void this.answer('deny'));
    this.send.addEventListener('click', () => void this.answer('deny', this.input.value.trim()));
    this.denyWithMessage.addEventListener('click', () => this.toggleMessage(this.messageRow.hidden));
    this.input.addEventListener('keydown', event => {
      if (event.isComposing) {
        return;
      }
      if (event.key === 'Enter') {
        event.preventDefault();
        void this.answer('deny', this.input.value.trim());
      } else if (event.key === 'Escape') {
        this.toggleMessage(false);
        this.denyWithMessage.focus();
      }
    });
  }

  /** The call waits for an answer. */
  ask(request: ApprovalRequest, liveness: Liveness): void {
    if (this.isClosed) {
      return; // answered here; the kernel's next frame will say so
    }
    this.request = request;
    const tool = textOf(request.tool);
    setText(this.question, `Claw asks: ${QUESTIONS[tool] ?? `use ${tool || 'this tool'}?`}`);
    setText(this.reason, textOf(request.reason));
    const rules = (request.suggested_rules ?? []).map(textOf).filter(rule => rule !== '');
    setHidden(this.always, rules.length === 0);
    if (this.rules.childElementCount !== rules.length) {
      this.rules.replaceChildren(...rules.map(rule => el('code', 'claw-Rule', rule)));
      this.allowAlways.title = 'Adds these rules to the session: what they match is not asked again';
    }
    if (liveness === 'expired') {
      this.close('Expired: the kernel that asked is gone. Run the cell again to ask anew.');
      return;
    }
    this.setDisabled(liveness !== 'live' || this.isSending);
    if (liveness === 'live' && !this.wasShown) {
      this.wasShown = true;
      window.requestAnimationFrame(() => showButtons(this.heading, this.actions));
    }
    if (liveness === 'connecting') {
      setText(this.status, 'Connecting to the kernel…');
    } else if (liveness === 'elsewhere') {
      setText(this.status, 'This view has no kernel: answer in the notebook.');
    } else if (!this.hasFailed) {
      setText(this.status, '');
    }
  }

  /** The call is decided, or its turn ended. */
  settle(approval: Approval | null): void {
    if (!approval?.answer) {
      this.close(this.request ? 'Not answered.' : '');
      return;
    }
    const by = approval.answered_by ?? 'extension';
    const wasElsewhere = by === 'extension' && this.request !== null && !this.hasAnswered;
    const way = wasElsewhere ? ' in another window' : WAYS[by];
    this.close(this.answerText(approval.answer, textOf(approval.message), way));
  }

  private async answer(answer: AnswerName, message = ''): Promise<void> {
    const client = this.findClient();
    if (!this.request || this.isSending || !client) {
      return;
    }
    this.isSending = true;
    this.hasFailed = false;
    this.hadFocus = this.actions.contains(document.activeElement); // what is disabled loses it
    this.setDisabled(true);
    try {
      const reply = await client.resolve(this.request.request_id, answer, message);
      this.hasAnswered = reply.is_accepted;
      this.close(reply.is_accepted ? this.answerText(answer, message) : 'This question was answered before.');
    } catch (error) {
      this.hasFailed = true;
      this.setDisabled(false);
      setText(this.status, `${error instanceof Error ? error.message : 'The answer could not be sent.'} Try again.`);
    } finally {
      this.isSending = false;
    }
  }

  private answerText(answer: AnswerName, message: string, way = ''): string {
    const rules = answer === 'allow_always' ? (this.request?.suggested_rules ?? []).map(textOf).join(', ') : '';
    const more = rules || (message && `“${message}”`);
    return ANSWERS[answer] + way + (more ? `: ${more}` : '');
  }

  /** The answer takes the place of the buttons. */
  private close(text: string): void {
    if (!this.isClosed) {
      this.isClosed = true;
      // Looked at before anything is hidden. A control that was disabled keeps the focus until the page is drawn next and
      // loses it to the body then: either may be the case when the answer arrives.
      const { activeElement } = document;
      const hasFocus = this.actions.contains(activeElement) || (this.hadFocus && activeElement === document.body);
      if (this.buttonRow.offsetHeight > 0) {
        this.actions.style.minHeight = `${this.buttonRow.offsetHeight}px`;
      }
      this.actions.removeAttribute('role');
      setHidden(this.buttonRow, true);
      setHidden(this.messageRow, true);
      if (hasFocus) {
        // Back to the cell, so that the keyboard goes on where it was.
        this.actions.closest<HTMLElement>('.jp-Cell')?.focus({ preventScroll: true });
      }
      setText(this.question, (this.question.textContent ?? '').replace('Claw asks', 'Claw asked'));
    }
    setText(this.status, text);
  }

  private toggleMessage(isShown: boolean): void {
    setHidden(this.messageRow, !isShown);
    this.denyWithMessage.setAttribute('aria-expanded', String(isShown));
    if (isShown) {
      this.input.focus();
    }
  }

  private setDisabled(isDisabled: boolean): void {
    for (const control of [this.allowOnce, this.allowAlways, this.deny, this.denyWithMessage, this.send, this.input]) {
      control.disabled = isDisabled;
    }
  }

  private request: ApprovalRequest | null = null;
  private wasShown = false;
  private isSending = false;
  private hasAnswered = false;
  private hasFailed = false;
  private hadFocus = false;
  private isClosed = false;
  private readonly question = el('div', 'claw-Card-question');
  private readonly reason = el('div', 'claw-Card-reason');
  private readonly buttonRow = el('div', 'claw-Card-buttons');
  private readonly messageRow = el('div', 'claw-Card-message');
  private readonly status = el('div', 'claw-Card-status');
  private readonly always = el('span', 'claw-Card-always');
  private readonly rules = el('span', 'claw-Card-rules');
  private readonly allowOnce = button('Allow once', 'claw-mod-accept');
  private readonly allowAlways = button('Allow always');
  private readonly deny = button('Deny', 'claw-mod-deny');
  private readonly denyWithMessage = button('Deny with message…');
  private readonly send = button('Deny', 'claw-mod-deny');
  private readonly input = el('input', 'claw-Card-input');
}

function button(label: string, modifier = ''): HTMLButtonElement {
  const element = el('button', `claw-Button ${modifier}`.trim(), label);
  element.type = 'button';
  return element;
}
