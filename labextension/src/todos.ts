import { el, icon, type IconName, setHidden, setText } from './dom';
import { isObject, textOf, type ToolCall, type TurnRecord } from './protocol';

export interface Todo {
  content: string;
  status: string;
}

const ICONS: Record<string, IconName> = { completed: 'done', in_progress: 'current' };

/** The list as the turn's newest accepted call made it; null where there is none. */
export function latestTodos(record: TurnRecord): Todo[] | null {
  for (const call of [...(record.live?.calls ?? [])].reverse()) {
    if (call.tool === 'TodoWrite' && call.result?.is_error !== true && call.preview?.kind === 'todos') {
      return todosOf(call.preview.todos);
    }
  }
  for (const step of [...(record.steps ?? [])].reverse()) {
    const refused = new Set((step.results ?? []).filter(result => result.is_error).map(result => result.call_id));
    const calls = (step.content ?? []).filter((block): block is ToolCall => block.type === 'tool_call');
    for (const call of calls.reverse()) {
      if (call.name === 'TodoWrite' && !refused.has(call.id)) {
        return todosOf(call.input?.todos);
      }
    }
  }
  return null;
}

function todosOf(value: unknown): Todo[] {
  return (Array.isArray(value) ? value.filter(isObject) : []).map(item => {
    const status = textOf(item.status);
    return { content: (status === 'in_progress' && textOf(item.activeForm)) || textOf(item.content), status };
  });
}

/** One list of a turn. A step keeps its element while its state changes, so that nothing jumps. */
export class TodoList {
  readonly node = el('div', 'claw-Todos');

  constructor() {
    this.node.hidden = true;
    this.list.setAttribute('aria-label', 'Steps');
    this.node.append(this.heading, this.list);
  }

  update(todos: Todo[] | null): void {
    const shown = todos ?? [];
    setHidden(this.node, shown.length === 0);
    const done = shown.filter(todo => todo.status === 'completed').length;
    setText(
      this.heading,
      done === shown.length ? `Steps · all ${done} done` : `Steps · ${done} of ${shown.length} done`
    );
    while (this.list.children.length > shown.length) {
      this.list.lastElementChild?.remove();
    }
    shown.forEach((todo, index) => this.drawItem(index, todo));
  }

  private drawItem(index: number, todo: Todo): void {
    let item = this.list.children.item(index) as HTMLElement | null;
    if (!item) {
      item = el('li', 'claw-Todo', el('span', 'claw-Todo-icon'), el('span', 'claw-Todo-text'));
      this.list.append(item);
    }
    const [mark, text] = item.children as unknown as [HTMLElement, HTMLElement];
    if (item.dataset.status !== todo.status) {
      item.dataset.status = todo.status;
      mark.replaceChildren(icon(ICONS[todo.status] ?? 'pending'));
    }
    setText(text, todo.content);
  }

  private readonly heading = el('div', 'claw-Todos-heading');
  private readonly list = el('ul', 'claw-Todos-list');
}
