import { Card, MessageField, type Reply } from './card';
import type { KernelClient } from './client';
import { button, el } from './dom';

/** Shall this plan be carried out? */
export class PlanCard extends Card {
  constructor(findClient: () => KernelClient | null) {
    super(findClient);
    const approve = button('Approve', 'claw-mod-accept');
    const acceptEdits = button('Approve and accept edits');
    acceptEdits.title = 'Edits in the workspace are not asked for from then on';
    const message = new MessageField(
      'Keep planning…',
      'Keep planning',
      'What should be different? (optional)',
      text => {
        void this.send({ answer: 'deny', message: text });
      }
    );
    const buttons = el('div', 'claw-Card-buttons', approve, acceptEdits, message.toggle);
    this.add(buttons, [approve, acceptEdits, message.toggle]);
    this.add(message.row, [message.sendButton, message.input]);
    approve.addEventListener('click', () => void this.send({ answer: 'approve' }));
    acceptEdits.addEventListener('click', () => void this.send({ answer: 'accept_edits' }));
  }

  protected words(): string {
    return 'carry out this plan?';
  }

  protected fill(): void {
    // the plan stands above
  }

  protected show(): void {
    // the words say it
  }

  protected said({ answer, message = '' }: Reply, way: string): string {
    return planAnswer(answer) + way + (message ? `: “${message}”` : '');
  }
}

export function planAnswer(answer: Reply['answer']): string {
  return answer === 'approve'
    ? 'Approved'
    : answer === 'accept_edits'
      ? 'Approved; edits are accepted'
      : 'Keep planning';
}
