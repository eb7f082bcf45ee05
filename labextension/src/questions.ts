import { Card, type Reply } from './card';
import type { KernelClient } from './client';
import { button, el, setHidden, setText } from './dom';
import { type ApprovalRequest, isObject, textOf } from './protocol';

export interface Option {
  label: string;
  description: string;
}

export interface Question {
  question: string;
  header: string;
  options: Option[];
  multiSelect: boolean;
}

/** The questions in a preview or in a call's input, which may be a stranger's; what does not fit is left out. */
export function questionsOf(value: unknown): Question[] {
  return (Array.isArray(value) ? value.filter(isObject) : []).map(item => ({
    question: textOf(item.question),
    header: textOf(item.header),
    options: (Array.isArray(item.options) ? item.options.filter(isObject) : []).map(option => ({
      label: textOf(option.label),
      description: textOf(option.description)
    })),
    multiSelect: item.multiSelect === true
  }));
}

/** `answers` of a result's details as lists of texts. */
export function answersOf(value: unknown): string[][] {
  return (Array.isArray(value) ? value : []).map(chosen => (Array.isArray(chosen) ? chosen.map(textOf) : []));
}

/**
 * One question: its options as buttons, and a field for other words. Arrows move between the options, a number or Space
 * chooses; the whole is one stop of the Tab key, and the field is the next.
 */
class QuestionView {
  readonly node = el('div', 'claw-Question');
  readonly options: HTMLButtonElement[];
  readonly own = el('input', 'claw-Card-input claw-Question-own');

  constructor(
    private readonly question: Question,
    id: string,
    changed: () => void,
    submit: () => void
  ) {
    const words = el(
      'div',
      'claw-Question-words',
      el('span', 'claw-Question-header', question.header),
      question.question
    );
    words.id = id;
    this.options = question.options.map((option, index) => {
      const number = el('span', 'claw-Option-number', String(index + 1));
      number.setAttribute('aria-hidden', 'true');
      const element = el('button', 'claw-Option', number, el('span', 'claw-Option-label', option.label));
      if (option.description) {
        element.append(el('span', 'claw-Option-description', option.description));
      }
      element.type = 'button';
      element.tabIndex = index === 0 ? 0 : -1;
      element.setAttribute('role', question.multiSelect ? 'checkbox' : 'radio');
      element.setAttribute('aria-checked', 'false');
      element.addEventListener('click', () => {
        this.choose(index);
        changed();
      });
      return element;
    });
    const group = el('div', 'claw-Question-options', ...this.options);
    group.setAttribute('role', question.multiSelect ? 'group' : 'radiogroup');
    group.setAttribute('aria-labelledby', id);
    group.addEventListener('keydown', event => this.move(event));
    this.own.placeholder = question.multiSelect ? 'And something else…' : 'Something else…';
    this.own.setAttribute('aria-label', `${question.header}: your own words`);
    this.own.maxLength = 2000;
    this.own.addEventListener('input', () => {
      if (!question.multiSelect && this.own.value.trim()) {
        this.mark([]);
      }
      changed();
    });
    this.own.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.isComposing) {
        event.preventDefault();
        submit();
      }
    });
    this.node.append(words, group, this.own);
  }

  /** What is chosen now: labels, then own words. */
  get chosen(): string[] {
    const labels = this.question.options.filter((_, index) => this.isMarked(index)).map(option => option.label);
    const own = this.own.value.trim();
    return own ? [...labels, own] : labels;
  }

  /** Draw what was chosen; words that are no label stand in the field. */
  show(chosen: readonly string[]): void {
    this.mark(this.question.options.flatMap((option, index) => (chosen.includes(option.label) ? [index] : [])));
    const labels = this.question.options.map(option => option.label);
    this.own.value = chosen.filter(text => !labels.includes(text)).join(', ');
    setHidden(this.own, this.own.value === '');
  }

  private choose(index: number): void {
    if (this.question.multiSelect) {
      const marked = this.options.flatMap((_, at) => ((at === index) !== this.isMarked(at) ? [at] : []));
      this.mark(marked);
    } else {
      this.own.value = '';
      this.mark([index]);
    }
    this.focusable(index);
  }

  private move(event: KeyboardEvent): void {
    const at = this.options.findIndex(option => option === document.activeElement);
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (step !== undefined && at >= 0) {
      const next = (at + step + this.options.length) % this.options.length;
      this.focusable(next);
      this.options[next]?.focus();
      event.preventDefault();
    } else if (/^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const option = this.options[Number(event.key) - 1];
      option?.focus();
      option?.click();
      event.preventDefault();
    }
  }

  private focusable(index: number): void {
    this.options.forEach((option, at) => (option.tabIndex = at === index ? 0 : -1));
  }

  private isMarked(index: number): boolean {
    return this.options[index]?.getAttribute('aria-checked') === 'true';
  }

  private mark(indices: readonly number[]): void {
    this.options.forEach((option, at) => option.setAttribute('aria-checked', String(indices.includes(at))));
  }
}

/** Up to four questions. Where there is only one, and one option answers it, choosing sends the answer. */
export class QuestionCard extends Card {
  constructor(findClient: () => KernelClient | null) {
    super(findClient);
    const none = button('No answer', 'claw-mod-deny');
    const buttons = el('div', 'claw-Card-buttons', this.submit, none);
    this.add(this.form, [], true);
    this.add(buttons, [this.submit, none]);
    this.submit.addEventListener('click', () => this.sendAnswers());
    none.addEventListener('click', () => void this.send({ answer: 'deny' }));
  }

  protected words(): string {
    return this.views.length > 1 ? `${this.views.length} questions` : 'what do you choose?';
  }

  protected fill(request: ApprovalRequest): void {
    if (this.views.length === 0) {
      this.draw(questionsOf(request.preview?.questions));
      setText(this.question, `Claw asks: ${this.words()}`);
    }
  }

  protected said({ answer, message = '' }: Reply, way: string): string {
    return (answer === 'answered' ? `Answered${way}` : `Not answered${way}`) + (message ? `: “${message}”` : '');
  }

  protected override show({ selections = [] }: Reply): void {
    showAnswers(this.views, selections);
  }

  protected override setDisabled(isDisabled: boolean): void {
    super.setDisabled(isDisabled);
    for (const view of this.views) {
      for (const control of [...view.options, view.own]) {
        control.disabled = isDisabled;
      }
    }
    this.submit.disabled = isDisabled || !this.isComplete;
  }

  private draw(questions: Question[]): void {
    const isQuick = questions.length === 1 && questions[0]?.multiSelect === false;
    this.views = questions.map(
      (question, index) =>
        new QuestionView(
          question,
          `${this.id}-${index}`,
          () => {
            this.submit.disabled = !this.isComplete;
            if (isQuick && this.views[0]?.own.value === '') {
              this.sendAnswers();
            }
          },
          () => this.sendAnswers()
        )
    );
    setText(this.submit, questions.length > 1 ? 'Send answers' : 'Send answer');
    this.form.append(...this.views.map(view => view.node));
  }

  private sendAnswers(): void {
    if (this.isComplete) {
      void this.send({ answer: 'answered', selections: this.views.map(view => view.chosen) });
    }
  }

  private get isComplete(): boolean {
    return this.views.length > 0 && this.views.every(view => view.chosen.length > 0);
  }

  private views: QuestionView[] = [];
  private readonly form = el('div', 'claw-Questions');
  private readonly submit = button('Send answer', 'claw-mod-accept');
}

/** The questions of a finished call with what was answered, to be read only. */
export function questionsBlock(questions: Question[], answers: string[][]): HTMLElement {
  const views = questions.map(
    (question, index) => new QuestionView(question, `claw-asked-${++blocks}-${index}`, nothing, nothing)
  );
  for (const view of views) {
    for (const control of [...view.options, view.own]) {
      control.disabled = true;
    }
  }
  showAnswers(views, answers);
  return el('div', 'claw-Questions', ...views.map(view => view.node));
}

let blocks = 0;

function nothing(): void {
  // a finished question cannot be answered
}

function showAnswers(views: readonly QuestionView[], answers: readonly string[][]): void {
  views.forEach((view, index) => view.show(answers[index] ?? []));
}
