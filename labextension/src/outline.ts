import { NotebookActions } from '@jupyterlab/notebook';

import type { KernelClient } from './client';
import type { KernelClients } from './clients';
import { findCell, outlineOf } from './notebook';
import type { Restore } from './restore';
import type { Storage } from './storage';

const SETTLE_MILLISECONDS = 50;

/**
 * Keeps the kernel informed of the notebook's cells: their order, the turns they show, those that were deleted. And notices
 * turns that the document lost without a person's doing (it was reloaded from disk), which are then put back.
 */
export class Outline {
  constructor(
    private readonly client: KernelClient,
    storage: Storage,
    private readonly restore: Restore,
    private readonly runningCells: ReadonlySet<string>
  ) {
    storage.stored.connect((_, record) => {
      const cell = findCell(client.context.model, record.cell_id ?? '', record.turn_id);
      if (cell) {
        this.turns.set(cell.id, record.turn_id);
      }
      client.report();
    });
    storage.missed.connect((_, record) => {
      // Our own run, whose output went to a cell that is no longer in the document.
      if (this.ours.has(record.turn_id)) {
        void client.rejoin().catch(() => undefined);
      }
    });
    client.bundleArrived.connect((_, { displayId, isFirst, isOurs }) => {
      if (isFirst && isOurs) {
        this.ours.add(displayId.replace(/^claw-/, ''));
      }
    });
    void client.context.ready.then(() => {
      if (!client.context.isDisposed) {
        client.context.model.cells.changed.connect(() => this.settle());
      }
    });
  }

  /** Many changes come at once when a document is loaded. */
  private settle(): void {
    if (this.timer === null) {
      this.timer = window.setTimeout(() => {
        this.timer = null;
        if (!this.client.context.isDisposed) {
          this.client.report();
          this.putBack();
        }
      }, SETTLE_MILLISECONDS);
    }
  }

  private putBack(): void {
    const isLost = outlineOf(this.client.context.model).some(([cellId, turnIds]) => {
      const turnId = this.turns.get(cellId);
      return turnId !== undefined && turnIds.length === 0 && !this.runningCells.has(cellId);
    });
    if ((isLost || this.restore.hasStranded) && this.client.state === 'live') {
      void this.client.rejoin().catch(() => undefined);
    }
  }

  private timer: number | null = null;
  /** The turn that was stored last in each cell. */
  private readonly turns = new Map<string, string>();
  private readonly ours = new Set<string>();
}

/** Tells each client which of its cells were started in one moment ("Run All" starts them all at once). */
export function watchStarts(clients: KernelClients): void {
  const started = new Map<KernelClient, string[]>();
  NotebookActions.executionScheduled.connect((_, { notebook, cell }) => {
    const client = clients.ofModel(notebook.model);
    if (!client) {
      return;
    }
    if (started.size === 0) {
      queueMicrotask(() => {
        const batch = [...started];
        started.clear();
        batch.forEach(([of, cellIds]) => of.cellsStarted(cellIds));
      });
    }
    started.set(client, [...(started.get(client) ?? []), cell.model.id]);
  });
  NotebookActions.executed.connect((_, { notebook, cell }) => {
    clients.ofModel(notebook.model)?.cellEnded(cell.model.id);
  });
}
