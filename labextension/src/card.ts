import type { KernelClient } from './client';
import type { Liveness } from './clients';
import { button, el, setHidden, setSentence, setText } from './dom';
import { type AnsweredBy, type AnswerName, type Approval, type ApprovalRequest, textOf } from './protocol';

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

type Control = HTMLButtonElement | HTMLInputElement;

/** What a person chose: an answer, words for the model, and for questions what was chosen in each. */
export interface Reply {
  answer: AnswerName;
  message?: string;
  selections?: string[][];
}

/**
 * A question of one tool call and its answer: a heading, and a row that holds the controls first and the answer
 * afterwards, of the same height until its step has ended, so that nothing below moves. What it is about is drawn between the two. The kinds of
 * question differ in their words and controls (`approval.ts`, `plan.ts`, `questions.ts`).
 */
export abstract class Card {
  readonly heading = el('div', 'claw-Card-heading');
  readonly actions = el('div', 'claw-Card-actions');

  constructor(private readonly findClient: () => KernelClient | null) {
    this.question.id = this.id;
    this.heading.append(this.question, this.reason);
    for (const row of [this.heading, this.actions]) {
      // Enter and letters belong to the card here, not to the notebook's command mode.
      row.setAttribute('data-lm-suppress-shortcuts', 'true');
    }
    this.actions.setAttribute('role', 'group');
    this.actions.setAttribute('aria-labelledby', this.id);
    this.status.setAttribute('role', 'status');
    this.actions.append(this.status);
  }

  /** The call waits for an answer. */
  ask(request: ApprovalRequest, liveness: Liveness): void {
    if (this.isClosed) {
      return; // answered here; the kernel's next frame will say so
    }
    this.request = request;
    setText(this.question, `Claw asks: ${this.words(request)}`);
    setSentence(this.reason, textOf(request.reason));
    this.fill(request);
    if (liveness === 'expired') {
      this.close('Expired: the kernel that asked is gone. Run the cell again to ask anew.');
      this.release();
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

  /** The call is decided, or its turn ended. `selections`: what the record says was chosen. */
  settle(approval: Approval | null, selections: string[][] = []): void {
    if (!approval?.answer) {
      this.close(this.request ? 'Not answered.' : '');
      return;
    }
    const by = approval.answered_by ?? 'extension';
    const wasElsewhere = by === 'extension' && this.request !== null && !this.hasAnswered;
    const way = wasElsewhere ? ' in another window' : WAYS[by];
    const reply = { answer: approval.answer, message: textOf(approval.message), selections };
    this.close(this.said(reply, way));
    this.show(reply);
  }

  /** What is below has moved on: the room that the buttons left is given back. */
  release(): void {
    this.actions.style.minHeight = '';
  }

  /** What is asked, after "Claw asks: ". */
  protected abstract words(request: ApprovalRequest): string;

  /** What of the request the controls show. */
  protected abstract fill(request: ApprovalRequest): void;

  /** The answer in words. */
  protected abstract said(reply: Reply, way: string): string;

  /** Mark what was chosen, where words do not say it all. */
  protected abstract show(reply: Reply): void;

  /** Put rows of controls before the status. A row that is `lasting` stays when the card is closed. */
  protected add(row: HTMLElement, controls: readonly Control[], isLasting = false): void {
    this.status.before(row);
    this.controls.push(...controls);
    if (isLasting) {
      this.isLasting = true;
    } else {
      this.rows.push(row);
    }
  }

  protected async send(reply: Reply): Promise<void> {
    const client = this.findClient();
    if (!this.request || this.isSending || this.isClosed || !client) {
      return;
    }
    this.isSending = true;
    this.hasFailed = false;
    this.hadFocus = this.actions.contains(document.activeElement); // what is disabled loses it
    this.setDisabled(true);
    try {
      const { answer, message = '', selections = [] } = reply;
      const outcome = await client.resolve(this.request.request_id, answer, message, selections);
      this.hasAnswered = outcome.is_accepted;
      this.close(outcome.is_accepted ? this.said(reply, '') : 'This question was answered before.');
      if (outcome.is_accepted) {
        this.show(reply);
      }
    } catch (error) {
      this.hasFailed = true;
      this.setDisabled(false);
      setText(this.status, `${error instanceof Error ? error.message : 'The answer could not be sent.'} Try again.`);
    } finally {
      this.isSending = false;
    }
  }

  protected setDisabled(isDisabled: boolean): void {
    for (const control of this.controls) {
      control.disabled = isDisabled;
    }
  }

  /** The answer takes the place of the controls. */
  private close(text: string): void {
    if (!this.isClosed) {
      this.isClosed = true;
      // Looked at before anything is hidden. A control that was disabled keeps the focus until the page is drawn next and
      // loses it to the body then: either may be the case when the answer arrives.
      const { activeElement } = document;
      const hasFocus = this.actions.contains(activeElement) || (this.hadFocus && activeElement === document.body);
      // What is hidden leaves its room: the answer takes the buttons' place, and a lasting row may shrink.
      const kept = this.isLasting ? this.actions : this.rows[0];
      if (kept && kept.offsetHeight > 0) {
        this.actions.style.minHeight = `${kept.offsetHeight}px`;
      }
      this.actions.removeAttribute('role');
      this.setDisabled(true);
      for (const row of this.rows) {
        setHidden(row, true);
      }
      if (hasFocus) {
        // Back to the cell, so that the keyboard goes on where it was.
        this.actions.closest<HTMLElement>('.jp-Cell')?.focus({ preventScroll: true });
      }
      setText(this.question, (this.question.textContent ?? '').replace('Claw asks', 'Claw asked'));
    }
    setText(this.status, text);
  }

  protected readonly id = `claw-card-${++cards}`;
  protected request: ApprovalRequest | null = null;
  protected readonly question = el('div', 'claw-Card-question');
  private wasShown = false;
  private isSending = false;
  private hasAnswered = false;
  private hasFailed = false;
  private hadFocus = false;
  private isLasting = false;
  protected isClosed = false;
  private readonly controls: Control[] = [];
  private readonly rows: HTMLElement[] = [];
  private readonly reason = el('div', 'claw-Card-reason');
  private readonly status = el('div', 'claw-Card-status');
}

/** A button that opens a field for words to the model, and the field, which Enter sends and Escape closes. */
export class MessageField {
  readonly row = el('div', 'claw-Card-message');
  readonly toggle: HTMLButtonElement;
  readonly input = el('input', 'claw-Card-input');
  readonly sendButton: HTMLButtonElement;

  constructor(label: string, sendLabel: string, placeholder: string, send: (message: string) => void) {
    this.toggle = button(label);
    this.sendButton = button(sendLabel, 'claw-mod-deny');
    this.toggle.setAttribute('aria-expanded', 'false');
    this.input.placeholder = placeholder;
    this.input.setAttribute('aria-label', 'Message to the model');
    this.row.hidden = true;
    this.row.append(this.input, this.sendButton);
    this.sendButton.addEventListener('click', () => send(this.input.value.trim()));
    this.toggle.addEventListener('click', () => this.open(this.row.hidden));
    this.input.addEventListener('keydown', event => {
      if (event.isComposing) {
        return;
      }
      if (event.key === 'Enter') {
        event.preventDefault();
        send(this.input.value.trim());
      } else if (event.key === 'Escape') {
        this.open(false);
        this.toggle.focus();
      }
    });
  }

  private open(isShown: boolean): void {
    setHidden(this.row, !isShown);
    this.toggle.setAttribute('aria-expanded', String(isShown));
    if (isShown) {
      this.input.focus();
    }
  }
}
