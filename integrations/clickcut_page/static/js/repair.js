// Going through the objects of an annotation file, as `clickcut repair` gives them.

import { button, element } from "./dom.js";
import { notify } from "./notices.js";

/** @type {{out: string, tasks: {label: string, image: string, done: boolean}[]}} */
let list = { out: "", tasks: [] };
let at = 0;
/** The object whose picture is open; not `at` while that is on its way or cannot be read. */
let shown = -1;
let busy = false;

/**
 * Shows the first object that is not done; false where there is nothing to repair.
 * @param {import("./main.js").Page} page
 */
export async function start(page) {
  const answer = await fetch("repair").catch(() => null);
  list = answer?.ok ? await answer.json() : list;
  if (!list.tasks.length) return false;
  document.body.classList.add("repairing");
  element("repair").hidden = false;
  button("repair-back").onclick = () => alone(page, () => show(page, at - 1));
  button("repair-skip").onclick = () => alone(page, () => show(page, at + 1));
  button("repair-save").onclick = () => alone(page, () => save(page));
  const first = Math.max(0, list.tasks.findIndex((task) => !task.done));
  await alone(page, () => show(page, first));
  return true;
}

/** @param {import("./workspace.js").Workspace | null} workspace */
export function render(workspace) {
  if (!list.tasks.length) return;
  button("repair-save").disabled =
    busy || shown !== at || !workspace?.item.area || workspace.busy > 0;
  button("repair-skip").disabled = busy;
  button("repair-back").disabled = busy || at === 0;
}

/**
 * Does one thing before the next may begin: a mask must not be saved as that of another object.
 * @param {import("./main.js").Page} page @param {() => Promise<void>} work
 */
async function alone(page, work) {
  if (busy) return;
  busy = true;
  document.body.classList.add("opening");
  page.render();
  try {
    await work();
  } finally {
    busy = false;
    document.body.classList.remove("opening");
    page.render();
  }
}

/** @param {import("./main.js").Page} page @param {number} number */
async function show(page, number) {
  if (number < 0 || number >= list.tasks.length) {
    const left = list.tasks.filter((task) => !task.done).length;
    const one = left === 1;
    const rest = `${left} ${one ? "object is left as it was" : "objects are left as they were"}.`;
    notify(left ? rest : `All is done; it is in ${list.out}.`);
    return;
  }
  at = number;
  const task = list.tasks[at];
  element("repair-place").textContent = `${at + 1} of ${list.tasks.length}`;
  element("repair-name").textContent = `${task.label}, ${task.image}${task.done ? " (done)" : ""}`;
  shown = -1;
  const parts = [`repair/${at}/image`, `repair/${at}`];
  const [image, mask] = await Promise.all(parts.map((part) => fetch(part).catch(() => null)));
  if (!image?.ok || !mask?.ok) return notify(`${task.image} cannot be read.`, "error");
  const { counts, width, height } = await mask.json();
  const before = page.workspace;
  await page.open(await image.blob(), task.image, undefined, { kind: "mask", counts, width, height });
  if (!page.workspace || page.workspace === before) return; // it was refused, which was said
  page.workspace.change(0, { name: task.label });
  shown = at;
}

/** @param {import("./main.js").Page} page */
async function save(page) {
  const [item] = (await page.workspace?.masksToSave()) ?? [];
  if (!item) return;
  const body = JSON.stringify({ counts: item.counts });
  const answer = await fetch(`repair/${at}`, { method: "POST", body }).catch(() => null);
  if (!answer?.ok) {
    const refusal = await answer?.json().catch(() => null);
    notify(refusal?.message ?? "The page's server is not there; nothing was saved.", "error");
    return;
  }
  list.tasks[at].done = true;
  await show(page, at + 1);
}
