import { Card, MessageField, type Reply } from './card';
import type { KernelClient } from './client';
import { button, el, setHidden } from './dom';
import { type ApprovalRequest, textOf } from './protocol';

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

const ANSWERS: Partial<Record<Reply['answer'], string>> = {
  allow_once: 'Allowed once',
  allow_always: 'Allowed always',
  deny: 'Denied'
};

/** May this call run? */
export class ApprovalCard extends Card {
  constructor(findClient: () => KernelClient | null) {
    super(findClient);
    const allowOnce = button('Allow once', 'claw-mod-accept');
    const deny = button('Deny', 'claw-mod-deny');
    const message = new MessageField('Deny with message…', 'Deny', 'What should Claw do instead?', text => {
      void this.send({ answer: 'deny', message: text });
    });
    this.rules.id = `${this.id}-rules`;
    this.allowAlways.setAttribute('aria-describedby', this.rules.id);
    this.allowAlways.title = 'Adds these rules to the session: what they match is not asked again';
    // Last, so that long rules wrap below the other buttons and not between them.
    this.always.append(this.allowAlways, this.rules);
    const buttons = el('div', 'claw-Card-buttons', allowOnce, deny, message.toggle, this.always);
    this.add(buttons, [allowOnce, this.allowAlways, deny, message.toggle]);
    this.add(message.row, [message.sendButton, message.input]);
    allowOnce.addEventListener('click', () => void this.send({ answer: 'allow_once' }));
    this.allowAlways.addEventListener('click', () => void this.send({ answer: 'allow_always' }));
    deny.addEventListener('click', () => void this.send({ answer: 'deny' }));
  }

  protected words(request: ApprovalRequest): string {
    const tool = textOf(request.tool);
    return QUESTIONS[tool] ?? `use ${tool || 'this tool'}?`;
  }

  protected fill(request: ApprovalRequest): void {
    const rules = rulesOf(request);
    setHidden(this.always, rules.length === 0);
    if (this.rules.childElementCount !== rules.length) {
      this.rules.replaceChildren(...rules.map(rule => el('code', 'claw-Rule', rule)));
    }
  }

  protected show(): void {
    // the words say it
  }

  protected said({ answer, message = '' }: Reply, way: string): string {
    const rules = answer === 'allow_always' && this.request ? rulesOf(this.request).join(', ') : '';
    const more = rules || (message && `“${message}”`);
    return (ANSWERS[answer] ?? answer) + way + (more ? `: ${more}` : '');
  }

  private readonly always = el('span', 'claw-Card-always');
  private readonly rules = el('span', 'claw-Card-rules');
  private readonly allowAlways = button('Allow always');
}

function rulesOf(request: ApprovalRequest): string[] {
  return (request.suggested_rules ?? []).map(textOf).filter(rule => rule !== '');
}
