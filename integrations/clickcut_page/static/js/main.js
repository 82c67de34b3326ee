// The page: opens pictures, and joins buttons, keys and gestures to the workspace.

import { button, choose, dialog, element, input } from "./dom.js";
import { KEYS, listen, POINTER_HELP } from "./keys.js";
import { Masks } from "./masks.js";
import { notify } from "./notices.js";
import { decode, digestOf, fileOf, OpenError } from "./opening.js";
import * as panel from "./panel.js";
import * as repair from "./repair.js";
import { PictureView } from "./picture_view.js";
import { prepare as prepareSaving } from "./saving_dialog.js";
import * as status from "./status.js";
import * as store from "./store.js";
import * as theme from "./theme.js";
import { Wire } from "./wire.js";
import { Workspace } from "./workspace.js";

const TAB = "clickcut-workspace";

export class Page {
  constructor() {
    this.stage = new PictureView();
    this.masks = new Masks();
    /** @type {Workspace | null} */
    this.workspace = null;
    /** @type {Promise<Wire> | null} */
    this.wire = null;
    this.turn = 0;
  }

  /** The contract; asked for again after a failure. */
  contract() {
    this.wire ??= Wire.load().catch((error) => {
      this.wire = null;
      throw error;
    });
    return this.wire;
  }

  /**
   * @param {Blob} file
   * @param {string} name
   * @param {{id: string, record: any}} [earlier]
   * @param {import("./edits.js").Edit} [first] done before anything else
   */
  async open(file, name, earlier, first) {
    document.body.classList.add("opening");
    const turn = ++this.turn;
    try {
      const [picture, digest, wire] = await Promise.all([
        decode(file),
        earlier?.record.digest || digestOf(file),
        this.contract(),
      ]);
      if (turn !== this.turn) return; // another picture was given meanwhile
      this.workspace?.close();
      const id = earlier?.id ?? newId();
      const parts = { id, file, name, picture, wire, masks: this.masks, digest };
      this.workspace = new Workspace({ ...parts, record: earlier?.record });
      this.#attach(this.workspace);
      sessionStorage.setItem(TAB, id);
      await this.#start(this.workspace);
      if (first) await this.workspace?.apply(first);
    } catch (error) {
      const reason = /** @type {Error} */ (error).message;
      notify(error instanceof OpenError ? `${name}: ${reason}` : reason, "error");
    } finally {
      document.body.classList.remove("opening");
      this.render();
    }
  }

  /** @param {Workspace} workspace */
  async #start(workspace) {
    try {
      await workspace.start();
    } catch (error) {
      if (/** @type {any} */ (error).kind === "Closed") return; // another picture was given
      await workspace.abandon();
      sessionStorage.removeItem(TAB);
      this.workspace = null;
      this.stage.clear();
      await this.offerRecent();
      throw new OpenError(/** @type {Error} */ (error).message);
    }
  }

  /** Goes on with what this tab, or an earlier one, had open. @param {string} id */
  async restore(id) {
    const found = await store.load(id);
    if (found) await this.open(found.file, found.record.name, { id, record: found.record });
  }

  /** @param {Workspace} workspace */
  #attach(workspace) {
    workspace.addEventListener("change", () => this.render());
    workspace.addEventListener("refused", (event) => {
      notify(/** @type {CustomEvent} */ (event).detail, "error");
    });
    workspace.addEventListener("deleted", (event) => {
      const index = /** @type {CustomEvent} */ (event).detail;
      const act = () => workspace.restore(index);
      notify(`${workspace.items[index].name} is deleted.`, "info", { label: "Undo", act });
    });
    this.stage.show(workspace);
    this.render();
  }

  render() {
    status.render(this.workspace);
    repair.render(this.workspace);
    panel.render(element("objects"), this.workspace, (n) => this.stage.colour(n));
    this.stage.redraw();
  }

  /** Opens the picture that the command named, where there is one. */
  async given() {
    const answer = await fetch("picture").catch(() => null);
    if (answer?.status !== 200) return;
    const name = decodeURIComponent(answer.headers.get("x-clickcut-name") ?? "picture");
    await this.open(await answer.blob(), name);
  }

  /** Offers the picture that was worked on last. */
  async offerRecent() {
    const [last] = await store.recent();
    button("again").hidden = !last;
    if (!last) return;
    button("again").textContent = `Continue with ${last.name}`;
    button("again").onclick = () => this.restore(last.id);
  }

  async sample() {
    const answer = await fetch("sample").catch(() => null);
    if (!answer?.ok) return notify("The page's server is not there.", "error");
    await this.open(await answer.blob(), "astronaut.jpg");
  }

  /** @param {string} act @param {KeyboardEvent} [event] */
  act(act, event) {
    const { workspace, stage } = this;
    const { view } = stage;
    const middle = [view.stage.width / 2, view.stage.height / 2];
    const step = event?.shiftKey ? 20 : 1;
    const by = Math.max(1, Math.round(step / Math.min(1, view.scale)));
    switch (act) {
      case "open": return input("file").click();
      case "help": return dialog("help-dialog").showModal();
      case "sample": return this.sample();
      case "mode": return this.setMode(["fill", "outline", "cutout"][Number(event?.key) - 1]);
      case "preview": return this.setPreview(!stage.wantsPreview);
      case "loupe": return this.setLoupe(!stage.loupe.enabled);
      case "sign": return stage.toggleSign();
    }
    if (!workspace) return;
    switch (act) {
      case "undo": return workspace.undo();
      case "redo": return workspace.redo();
      case "next": return workspace.nextObject();
      case "reset": return workspace.apply({ kind: "reset" });
      case "remove": return stage.remove();
      case "fit": return view.fit();
      case "zoom": return view.zoom(middle[0], middle[1], event?.key === "-" ? 1 / 1.4 : 1.4);
      case "save": return button("save").disabled || dialog("save-dialog").showModal();
      case "place": return this.#place();
      case "arrow": {
        const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[
          event?.key ?? ""
        ] ?? [0, 0];
        return stage.moveCrosshair(dx, dy);
      }
    }
  }

  #place() {
    const at = this.stage.crosshair;
    if (!at) return this.stage.moveCrosshair(0, 0);
    const negative = document.querySelector('input[name="sign"][value="background"]:checked') !== null;
    this.stage.apply({ kind: "click", ...at, negative });
  }

  /** @param {string} mode */
  setMode(mode) {
    choose("mode", mode);
    this.stage.drawing.mode = /** @type {any} */ (mode);
    this.stage.redraw();
  }

  /** @param {boolean} on */
  setPreview(on) {
    input("preview").checked = on;
    this.stage.setPreview(on);
  }

  /** @param {boolean} on */
  setLoupe(on) {
    input("loupe-on").checked = on;
    this.stage.loupe.enabled = on;
    this.stage.redraw();
  }
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (n) => n.toString(36)).join("");
}

/** @param {Page} page */
function join(page) {
  for (const act of ["undo", "redo", "reset", "next", "save", "open", "help"]) {
    button(act).onclick = () => page.act(act);
  }
  button("open-first").onclick = () => page.act("open");
  button("sample").onclick = () => page.act("sample");
  button("fit").onclick = () => page.act("fit");
  button("theme").onclick = () => theme.toggle();
  input("file").onchange = () => {
    const [file] = input("file").files ?? [];
    if (file) page.open(file, file.name);
    input("file").value = "";
  };
  for (const radio of document.querySelectorAll('input[name="mode"]')) {
    radio.addEventListener("change", (event) => page.setMode(/** @type {any} */ (event.target).value));
  }
  input("preview").onchange = () => page.setPreview(input("preview").checked);
  input("loupe-on").onchange = () => page.setLoupe(input("loupe-on").checked);
  input("opacity").oninput = () => {
    page.stage.drawing.opacity = Number(input("opacity").value);
    page.stage.redraw();
  };
  page.stage.stage.addEventListener("preview", () => {
    input("preview").checked = page.stage.wantsPreview;
  });
  listen((act, event) => page.act(act, event));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") page.stage.gestures.cancel();
    if (event.key !== " " || event.target instanceof HTMLInputElement) return;
    if (event.target instanceof HTMLButtonElement) return;
    event.preventDefault();
    page.stage.gestures.spaceHeld = true;
    page.stage.stage.classList.add("panning");
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== " ") return;
    page.stage.gestures.spaceHeld = false;
    page.stage.stage.classList.remove("panning");
  });
}

/** @param {Page} page */
function takeFiles(page) {
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = fileOf(event.dataTransfer);
    if (file) page.open(file, file.name);
    else notify("Drop an image file here.", "error");
  });
  document.addEventListener("paste", (event) => {
    if (event.target instanceof HTMLInputElement && event.target.type === "text") return;
    const file = fileOf(event.clipboardData);
    if (file) page.open(file, file.name || "pasted.png");
    else notify("There is no image in the clipboard.", "error");
  });
}

function fillHelp() {
  const rows = [...POINTER_HELP, ...KEYS.map(({ keys, text }) => [keys, text])];
  for (const [keys, text] of rows) {
    const term = Object.assign(document.createElement("dt"), { textContent: keys });
    const words = Object.assign(document.createElement("dd"), { textContent: text });
    element("help-list").append(term, words);
  }
}

const page = new Page();
theme.apply();
join(page);
takeFiles(page);
fillHelp();
prepareSaving(() => page.workspace);
page.render();
const last = sessionStorage.getItem(TAB);
if (!(await repair.start(page)) && last) await page.restore(last);
if (!page.workspace) await page.given();
if (!page.workspace) await page.offerRecent();
document.body.classList.add("ready");
