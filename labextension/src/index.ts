import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';

import { Branches } from './branches';
import type { KernelClient } from './client';
import { KernelClients } from './clients';
import { TURN_MIME } from './protocol';
import { TurnRenderer } from './renderer';
import { Restore, watchRunningCells } from './restore';
import { Runs } from './runs';
import { Storage } from './storage';
import { Outline, watchStarts } from './outline';

const INTERRUPT_TURN = 'claw:interrupt-turn';

/** Draws turns, keeps each open notebook in touch with Claw in its kernel, and offers the command. */
const turns: JupyterFrontEndPlugin<void> = {
  id: 'claw-jupyter:turns',
  description: 'Draws Claw’s turns, asks for approvals and stores the session in the notebook.',
  autoStart: true,
  requires: [IRenderMimeRegistry, INotebookTracker],
  optional: [ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    rendermime: IRenderMimeRegistry,
    tracker: INotebookTracker,
    palette: ICommandPalette | null
  ) => {
    const clients = new KernelClients(tracker, {
      ui: app.name === 'JupyterLab' ? 'jupyterlab' : 'notebook',
      ui_version: app.version
    });

    const branches = new Map<KernelClient, Branches>();
    const branchesAt = (node: HTMLElement): Branches | null => {
      const client = clients.at(node);
      return (client && branches.get(client)) ?? null;
    };

    rendermime.addFactory(
      {
        safe: true,
        mimeTypes: [TURN_MIME],
        createRenderer: options => new TurnRenderer(clients, branchesAt, rendermime, options)
      },
      0
    );

    const runningCells = watchRunningCells();
    watchStarts(clients);
    const open = (panel: NonNullable<typeof tracker.currentWidget>): void =>
      clients.open(panel.context, client => {
        const storage = new Storage(client);
        const restore = new Restore(client, storage, runningCells);
        new Outline(client, storage, restore, runningCells);
        new Runs(client, storage, () => tracker.find(candidate => candidate.context === panel.context) ?? null);
        const own = new Branches(client, storage, runningCells);
        branches.set(client, own);
        own.changed.connect(() => clients.redraw());
        panel.context.disposed.connect(() => branches.delete(client));
      });
    tracker.widgetAdded.connect((_, panel) => open(panel));
    tracker.forEach(open);

    const currentClient = () => {
      const panel = tracker.currentWidget;
      return panel ? clients.get(panel.context) : null;
    };
    app.commands.addCommand(INTERRUPT_TURN, {
      label: 'Claw: interrupt turn',
      caption: 'Stop the turns that run in the current notebook; the kernel and its variables stay.',
      isEnabled: () => currentClient()?.state === 'live',
      execute: () => currentClient()?.interruptTurns()
    });
    clients.changed.connect(() => app.commands.notifyCommandChanged(INTERRUPT_TURN));
    palette?.addItem({ command: INTERRUPT_TURN, category: 'Claw' });
  }
};

export default [turns];
