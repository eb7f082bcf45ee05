import type { Standing } from './branches';
import { button, el, setHidden, setText } from './dom';
import { textOf, type TurnRecord } from './protocol';

type Use = (turnId: string) => Promise<void>;

const WORDS: Record<Standing, { text: string; action: string }> = {
  path: { text: '', action: '' },
  branch: { text: 'On another branch: the model does not see this turn.', action: 'Return to it' },
  conversation: { text: 'Of another conversation: the model does not see this turn.', action: 'Go on with it' }
};

/** Above a turn that the model does not see: that it does not, and the way back to it. */
export class StandingLine {
  readonly node = el('div', 'claw-Standing');

  constructor(private readonly use: Use) {
    this.action.addEventListener('click', () => {
      this.action.disabled = true;
      this.use(this.turnId)
        .catch((error: unknown) => setText(this.text, error instanceof Error ? error.message : String(error)))
        .finally(() => (this.action.disabled = false));
    });
    this.node.setAttribute('data-lm-suppress-shortcuts', 'true');
    this.node.append(this.text, this.action);
    setHidden(this.node, true);
  }

  update(standing: Standing, turnId: string, canReturn: boolean): void {
    const words = WORDS[standing];
    this.turnId = turnId;
    setHidden(this.node, standing === 'path');
    if (this.standing !== standing) {
      this.standing = standing;
      setText(this.text, words.text);
      setText(this.action, words.action);
    }
    setHidden(this.action, !canReturn);
  }

  private standing: Standing = 'path';
  private turnId = '';
  private readonly text = el('span', 'claw-Standing-text');
  private readonly action = button('', 'claw-Link');
}

/** Where a cell has had several turns: which of them this is, and the way to the others. */
export class Versions {
  readonly node = el('div', 'claw-Versions');

  constructor(private readonly use: Use) {
    this.node.setAttribute('role', 'group');
    this.node.setAttribute('aria-label', 'Turns of this cell');
    this.node.setAttribute('data-lm-suppress-shortcuts', 'true');
    this.earlier.addEventListener('click', () => this.go(-1));
    this.later.addEventListener('click', () => this.go(1));
    this.node.append(this.earlier, this.place, this.later);
    setHidden(this.node, true);
  }

  /** `turns`: all turns of the cell in order, or none. */
  update(turnId: string, turns: TurnRecord[], canReturn: boolean): void {
    this.turns = turns;
    this.at = turns.findIndex(turn => turn.turn_id === turnId);
    setHidden(this.node, turns.length < 2);
    setText(this.place, `${this.at + 1} of ${turns.length}`);
    this.offer(this.earlier, 'Earlier turn of this cell', turns[this.at - 1], canReturn);
    this.offer(this.later, 'Later turn of this cell', turns[this.at + 1], canReturn);
  }

  private offer(arrow: HTMLButtonElement, label: string, turn: TurnRecord | undefined, canReturn: boolean): void {
    arrow.disabled = !turn || !canReturn;
    const words = turn ? `${label}: ${textOf(turn.prompt).trim().slice(0, 80)}` : label;
    if (arrow.title !== words) {
      arrow.title = words;
      arrow.setAttribute('aria-label', words);
    }
  }

  private go(by: number): void {
    const turn = this.turns[this.at + by];
    if (turn) {
      this.use(turn.turn_id).catch((error: unknown) => {
        setText(this.place, error instanceof Error ? error.message : String(error));
      });
    }
  }

  private turns: TurnRecord[] = [];
  private at = -1;
  private readonly earlier = button('‹', 'claw-Arrow');
  private readonly place = el('span', 'claw-Versions-place');
  private readonly later = button('›', 'claw-Arrow');
}
