import { Notification } from '@jupyterlab/apputils';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';

import type { KernelClient } from './client';
import { collectRecords } from './notebook';
import { type JSONRecord, recordOf, textOf } from './protocol';
import type { Storage } from './storage';

/**
 * What a command asks its page to do once its cell has ended (`%claw resume --run`, `%claw history recover`): run cells, so
 * that their outputs appear in them; run code that no cell holds; show turns in their cells. One after the other, until one fails.
 */
export class Runs {
  constructor(
    private readonly client: KernelClient,
    private readonly storage: Storage,
    private readonly findPanel: () => NotebookPanel | null
  ) {
    client.runsAsked.connect((_, runs) => void this.run(runs));
  }

  private async run(runs: JSONRecord[]): Promise<void> {
    const turnIds = runs.map(run => textOf(run.turn_id)).filter(turnId => turnId !== '');
    if (turnIds.length > 0) {
      await this.show(turnIds).catch(() => undefined);
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

  /** In their cells, or where a cell has a newer turn among the branches. */
  private async show(turnIds: string[]): Promise<void> {
    await this.client.rejoin();
    const known = new Set(collectRecords(this.client.context.model).map(record => record.turn_id));
    const missing = await this.client.bundlesOf(turnIds.filter(turnId => !known.has(turnId)));
    for (const bundle of missing.values()) {
      const record = recordOf(bundle);
      if (record) {
        this.storage.keep(record);
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
