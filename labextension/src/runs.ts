import { Notification } from '@jupyterlab/apputils';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';

import type { KernelClient } from './client';
import { type JSONRecord, textOf } from './protocol';

/**
 * What a command asks its page to do once its cell has ended (`%claw resume --run`, `%claw history recover`): run cells, so
 * that their outputs appear in them; run code that no cell holds; show turns in their cells. One after the other, until one fails.
 */
export class Runs {
  constructor(
    private readonly client: KernelClient,
    private readonly findPanel: () => NotebookPanel | null
  ) {
    client.runsAsked.connect((_, runs) => void this.run(runs));
  }

  private async run(runs: JSONRecord[]): Promise<void> {
    if (runs.some(run => textOf(run.turn_id))) {
      await this.client.rejoin().catch(() => undefined);
    }
    for (const run of runs) {
      const isDone = textOf(run.cell_id)
        ? await this.runCell(textOf(run.cell_id))
        : textOf(run.code)
          ? await this.runCode(textOf(run.code))
          : true;
      if (!isDone) {
        return;
      }
    }
  }

  private async runCell(cellId: string): Promise<boolean> {
    const panel = this.findPanel();
    const cell = panel?.content.widgets.find(candidate => candidate.model.id === cellId);
    if (!panel || !cell) {
      Notification.warning('Claw: a cell that was to run is not in the notebook any more. Nothing behind it was run.');
      return false;
    }
    return NotebookActions.runCells(panel.content, [cell], panel.sessionContext);
  }

  private async runCode(code: string): Promise<boolean> {
    const kernel = this.client.context.sessionContext.session?.kernel;
    const reply = await kernel?.requestExecute({ code, silent: false, store_history: false, stop_on_error: true }).done;
    if (reply?.content.status === 'ok') {
      return true;
    }
    Notification.error('Claw: code of an earlier turn failed when it ran again. Nothing behind it was run.');
    return false;
  }
}
