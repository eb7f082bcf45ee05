import type { ICodeCellModel } from '@jupyterlab/cells';
import type { IOutput } from '@jupyterlab/nbformat';
import { JSONExt, type JSONObject, type PartialJSONValue } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

import type { KernelClient } from './client';
import {
  asStored,
  branchesOf,
  drawnRecords,
  findCell,
  headerOf,
  replacedBy,
  shownTurns,
  storedRecord
} from './notebook';
import { isFinished, isObject, METADATA_KEY, type MimeBundle, recordOf, textOf, type TurnRecord } from './protocol';

const SHOW_ATTEMPTS = 20;
const SHOW_PAUSE_MILLISECONDS = 50;

/**
 * Writes finished records into the notebook: `cell.metadata.claw` and, from the kernel, the header `metadata.claw`, which
 * also keeps the turns that their cells no longer show. It never saves the document, and what is equal already is not
 * written again.
 */
export class Storage {
  constructor(private readonly client: KernelClient) {
    client.bundleArrived.connect((_, { bundle }) => {
      const record = recordOf(bundle);
      if (record && isFinished(record)) {
        void this.store(record);
      }
    });
    client.context.saveState.connect((_, state) => {
      if (state === 'started') {
        this.addHeard();
        this.saving = [...this.unsaved];
      } else if (state === 'completed' && this.saving.length > 0) {
        this.saving.forEach(id => this.unsaved.delete(id));
        client.request('saved', { turns: this.saving.splice(0) }).catch(() => undefined);
      }
    });
  }

  /** The document holds a turn it did not hold before. */
  get stored(): ISignal<this, TurnRecord> {
    return this._stored;
  }

  /** A finished turn is nowhere to be seen in this page's document, though its cell is there. */
  get missed(): ISignal<this, TurnRecord> {
    return this._missed;
  }

  async store(record: TurnRecord): Promise<void> {
    const header = await this.client.request('header').then(
      reply => reply.header,
      () => null
    );
    // Another window may have run the cell: only the page whose document shows the turn stores it.
    for (let attempt = 0; attempt < SHOW_ATTEMPTS; attempt++) {
      if (this.client.context.isDisposed) {
        return;
      }
      if (this.isShown(record)) {
        this.write(record, header);
        return;
      }
      await new Promise(resolve => window.setTimeout(resolve, SHOW_PAUSE_MILLISECONDS));
    }
    this.heard.set(record.turn_id, { record, header });
    this._missed.emit(record);
  }

  /** Keep a turn that no cell shows. */
  keep(record: TurnRecord): void {
    const model = this.client.context.model;
    const header = headerOf(model);
    const branches = [...branchesOf(model), asStored(record)] as unknown as JSONObject[];
    const whole = { ...(isObject(header) ? (header as JSONObject) : {}), branches };
    model.sharedModel.transact(() => model.sharedModel.setMetadata(METADATA_KEY, whole), false);
    this.unsaved.add(record.turn_id);
  }

  /** Put the kernel's header into the document, with the branches that are there. */
  writeHeader(header: JSONObject): void {
    const model = this.client.context.model;
    const kept = branchesOf(model);
    const whole = kept.length > 0 ? { ...header, branches: kept as unknown as JSONObject[] } : header;
    if (!isEqual(headerOf(model), whole)) {
      model.sharedModel.transact(() => model.sharedModel.setMetadata(METADATA_KEY, whole), false);
    }
  }

  /**
   * A cell shows a turn that was kept among the branches, and the one it showed is kept there. Its prompt goes with the turn
   * where it is still the one that was sent; what a person has changed in it since stays.
   */
  exchange(cell: ICodeCellModel, record: TurnRecord, bundle: MimeBundle): void {
    const model = this.client.context.model;
    const displaced = storedRecord(cell) ?? drawnRecords(cell).map(({ record: drawn }) => drawn)[0] ?? null;
    const header = headerOf(model);
    const kept = branchesOf(model).filter(known => known.turn_id !== record.turn_id);
    if (displaced) {
      kept.push(asStored(displaced));
    }
    const prompt =
      displaced && exchangedPrompt(cell.sharedModel.getSource(), textOf(displaced.prompt), textOf(record.prompt));
    model.sharedModel.transact(() => {
      cell.outputs.clear();
      cell.outputs.add({ output_type: 'display_data', data: bundle, metadata: {} } as IOutput);
      cell.sharedModel.setMetadata(METADATA_KEY, asStored(record) as unknown as JSONObject);
      if (isObject(header)) {
        const { branches, ...rest } = header as JSONObject;
        const whole = kept.length > 0 ? { ...rest, branches: kept as unknown as JSONObject[] } : rest;
        model.sharedModel.setMetadata(METADATA_KEY, whole);
      }
    }, false);
    if (prompt !== null && prompt !== cell.sharedModel.getSource()) {
      cell.sharedModel.setSource(prompt);
    }
    this.unsaved.add(record.turn_id);
  }

  private isShown(record: TurnRecord): boolean {
    const cell = findCell(this.client.context.model, record.cell_id ?? '', record.turn_id);
    return (
      cell !== null &&
      drawnRecords(cell).some(drawn => drawn.record.turn_id === record.turn_id && isFinished(drawn.record))
    );
  }

  /**
   * Turns that another page ran are added when this page is saved, so that its file has them too. Not before: a page
   * that nobody touched must not ask to be saved.
   */
  private addHeard(): void {
    for (const { record, header } of this.heard.values()) {
      const cell = findCell(this.client.context.model, record.cell_id ?? '', record.turn_id);
      const stored = cell && storedRecord(cell);
      if (cell && (!stored || (stored.started_at ?? '') < (record.started_at ?? ''))) {
        // This page may have run cells since: its own header is the newer one.
        this.write(record, this.client.header ?? header);
      }
    }
    this.heard.clear();
  }

  private write(drawn: TurnRecord, fromKernel: unknown): void {
    const model = this.client.context.model;
    const cell = findCell(model, drawn.cell_id ?? '', drawn.turn_id);
    if (!cell) {
      return;
    }
    const record = asStored(drawn);
    const displaced = storedRecord(cell);
    const kept = new Map(branchesOf(model).map(known => [known.turn_id, known]));
    const replaced = drawnRecords(cell).flatMap(shown => replacedBy(shown.record));
    for (const known of displaced ? [...replaced, displaced] : replaced) {
      kept.set(known.turn_id, asStored(known));
    }
    kept.delete(record.turn_id);
    for (const other of model.cells) {
      if (other !== cell) {
        shownTurns(other).forEach(id => kept.delete(id));
      }
    }
    const base = isObject(fromKernel) ? fromKernel : (headerOf(model) as JSONObject | null);
    const header = isObject(base) && kept.size > 0 ? { ...base, branches: [...kept.values()] } : base;
    const isNewRecord = !isEqual(cell.sharedModel.getMetadata(METADATA_KEY), record);
    const isNewHeader = isObject(header) && !isEqual(headerOf(model), header);
    if (isNewRecord || isNewHeader) {
      // Not undoable: taking back one's own typing must not take the record with it.
      model.sharedModel.transact(() => {
        if (isNewRecord) {
          cell.sharedModel.setMetadata(METADATA_KEY, record as unknown as JSONObject);
        }
        if (isNewHeader) {
          model.sharedModel.setMetadata(METADATA_KEY, header as JSONObject);
        }
      }, false);
    }
    this.unsaved.add(record.turn_id);
    this._stored.emit(record);
  }

  /** Finished turns that this page's document does not show. */
  private readonly heard = new Map<string, { record: TurnRecord; header: unknown }>();
  private readonly unsaved = new Set<string>();
  private saving: string[] = [];
  private readonly _stored = new Signal<this, TurnRecord>(this);
  private readonly _missed = new Signal<this, TurnRecord>(this);
}

/** The cell's source with the prompt of another turn; null where a person has changed it since it was sent. */
function exchangedPrompt(source: string, sent: string, wanted: string): string | null {
  const head = /^\s*%%claw[^\n]*\n/.exec(source)?.[0] ?? '';
  const body = source.slice(head.length);
  return body.replace(/^\n+|\n+$/g, '') === sent ? head + wanted : null;
}

function isEqual(stored: unknown, value: unknown): boolean {
  return stored !== undefined && JSONExt.deepEqual(stored as PartialJSONValue, value as PartialJSONValue);
}
