import type { IOutput } from '@jupyterlab/nbformat';
import type { INotebookModel } from '@jupyterlab/notebook';
import { JSONExt, type PartialJSONValue } from '@lumino/coreutils';

import { drawnRecords, findCell } from './notebook';
import { type MimeBundle, recordOf, type TurnRecord } from './protocol';

const TURN_TAKING_MILLISECONDS = 200;
const SPREAD_MILLISECONDS = 25;

interface Awareness {
  clientID: number;
  getStates(): Map<number, unknown>;
}

/**
 * The output of one turn in the document, for bundles that JupyterLab does not put there itself.
 *
 * In a shared document two pages that write one output at the same time leave two of it. So there a page waits, each for
 * another time, and writes only where nobody else has written meanwhile.
 */
export class TurnPlace {
  constructor(
    private readonly model: INotebookModel,
    private readonly cellId: string,
    private readonly turnId: string
  ) {
    this.seen = this.shown();
  }

  show(bundle: MimeBundle): void {
    this.latest = bundle;
    if (!this.model.collaborative) {
      this.write(bundle);
    } else if (!this.isWaiting) {
      this.wait();
    }
  }

  private wait(): void {
    this.isWaiting = true;
    window.setTimeout(() => {
      this.isWaiting = false;
      if (!this.model.isDisposed && this.latest) {
        this.takeTurn(this.latest);
      }
    }, this.patienceMilliseconds());
  }

  private takeTurn(bundle: MimeBundle): void {
    const shown = this.shown();
    if (isEqual(shown, recordOf(bundle))) {
      this.seen = shown;
    } else if (isEqual(shown, this.seen)) {
      this.write(bundle);
      this.seen = recordOf(bundle);
    } else {
      this.seen = shown; // another page draws
      this.wait();
    }
  }

  /** In the place of the turn's output, or of all outputs where the cell does not show the turn. */
  private write(bundle: MimeBundle): void {
    const cell = findCell(this.model, this.cellId, this.turnId);
    if (!cell) {
      return;
    }
    const output = { output_type: 'display_data', data: bundle, metadata: {} } as IOutput;
    const drawn = drawnRecords(cell).find(({ record }) => record.turn_id === this.turnId);
    if (drawn) {
      cell.outputs.set(drawn.index, output);
    } else {
      cell.outputs.clear();
      cell.outputs.add(output);
    }
  }

  private shown(): TurnRecord | null {
    const cell = findCell(this.model, this.cellId, this.turnId);
    const drawn = cell && drawnRecords(cell).find(({ record }) => record.turn_id === this.turnId);
    return drawn?.record ?? null;
  }

  /**
   * Longer for each page before ours. A page that has just come does not know the others yet, so that its id must do:
   * two pages then meet in one of sixteen cases at most.
   */
  private patienceMilliseconds(): number {
    const awareness = (this.model.sharedModel as { awareness?: Awareness }).awareness;
    if (!awareness) {
      return 0;
    }
    const before = [...awareness.getStates().keys()].filter(id => id < awareness.clientID).length;
    return TURN_TAKING_MILLISECONDS * (before + 1) + SPREAD_MILLISECONDS * (awareness.clientID % 16);
  }

  private seen: TurnRecord | null;
  private latest: MimeBundle | null = null;
  private isWaiting = false;
}

function isEqual(one: TurnRecord | null, other: TurnRecord | null): boolean {
  return JSONExt.deepEqual(one as unknown as PartialJSONValue, other as unknown as PartialJSONValue);
}
