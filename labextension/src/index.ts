import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';

import { KernelClients } from './client';
import { TURN_MIME } from './protocol';
import { TurnRenderer } from './renderer';
import { Restore, watchRunningCells } from './restore';
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

    rendermime.addFactory(
      {
        safe: true,
        mimeTypes: [TURN_MIME],
        createRenderer: options => new TurnRenderer(clients, rendermime, options)
      },
      0
    );

    const runningCells = watchRunningCells();
    watchStarts(clients);
    const open = (panel: NonNullable<typeof tracker.currentWidget>): void =>
      clients.open(panel.context, client => {
        const storage = new Storage(client);
        new Restore(client, storage, runningCells);
        new Outline(client, storage, runningCells);
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
