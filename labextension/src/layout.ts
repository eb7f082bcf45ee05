import { MessageLoop } from '@lumino/messaging';
import { Layout, Widget } from '@lumino/widgets';

/**
 * A layout that leaves the place of each child widget to the caller: Lumino's own layouts put children in one list,
 * while a turn has them (Markdown, figures) deep inside its own elements. Attach and show messages reach them as usual.
 */
export class FreeLayout extends Layout {
  override *[Symbol.iterator](): IterableIterator<Widget> {
    yield* this.children;
  }

  /** Put `widget` at the end of `host`, an element inside the parent's node. */
  addWidget(widget: Widget, host: HTMLElement): void {
    this.children.add(widget);
    widget.parent = this.parent;
    this.place(widget, () => host.append(widget.node));
  }

  /** Put `widget` where `old` is and dispose `old`. */
  replaceWidget(old: Widget, widget: Widget): void {
    this.children.add(widget);
    widget.parent = this.parent;
    this.place(widget, () => old.node.before(widget.node));
    old.dispose();
  }

  override removeWidget(widget: Widget): void {
    if (!this.children.delete(widget)) {
      return;
    }
    const isAttached = this.parent?.isAttached === true;
    if (isAttached) {
      MessageLoop.sendMessage(widget, Widget.Msg.BeforeDetach);
    }
    widget.node.remove();
    if (isAttached) {
      MessageLoop.sendMessage(widget, Widget.Msg.AfterDetach);
    }
  }

  override dispose(): void {
    for (const widget of [...this.children]) {
      widget.dispose();
    }
    this.children.clear();
    super.dispose();
  }

  private place(widget: Widget, insert: () => void): void {
    const isAttached = this.parent?.isAttached === true;
    if (isAttached) {
      MessageLoop.sendMessage(widget, Widget.Msg.BeforeAttach);
    }
    insert();
    if (isAttached) {
      MessageLoop.sendMessage(widget, Widget.Msg.AfterAttach);
    }
  }

  private readonly children = new Set<Widget>();
}
