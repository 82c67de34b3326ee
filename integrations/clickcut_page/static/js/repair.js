// Going through the objects of an annotation file, as `clickcut repair` gives them.

import { button, element } from "./dom.js";
import { notify } from "./notices.js";

/** @type {{out: string, tasks: {label: string, image: string, done: boolean}[]}} */
let list = { out: "", tasks: [] };
let at = 0;

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
  button("repair-back").onclick = () => show(page, at - 1);
  button("repair-skip").onclick = () => show(page, at + 1);
  button("repair-save").onclick = () => save(page);
  await show(page, Math.max(0, list.tasks.findIndex((task) => !task.done)));
  return true;
}

/** @param {import("./workspace.js").Workspace | null} workspace */
export function render(workspace) {
  if (!list.tasks.length) return;
  button("repair-save").disabled = !workspace?.item.area || workspace.busy > 0;
}

/** @param {import("./main.js").Page} page @param {number} number */
async function show(page, number) {
  if (number < 0 || number >= list.tasks.length) {
    const left = list.tasks.filter((task) => !task.done).length;
    notify(left ? `${left} objects are left as they were.` : `All is done; it is in ${list.out}.`);
    return;
  }
  at = number;
  const task = list.tasks[at];
  element("repair-place").textContent = `${at + 1} of ${list.tasks.length}`;
  element("repair-name").textContent = `${task.label}, ${task.image}${task.done ? " (done)" : ""}`;
  button("repair-back").disabled = at === 0;
  const [image, mask] = await Promise.all([fetch(`repair/${at}/image`), fetch(`repair/${at}`)]);
  if (!image.ok || !mask.ok) return notify(`${task.image} cannot be read.`, "error");
  const { counts, width, height } = await mask.json();
  await page.open(await image.blob(), task.image, undefined, { kind: "mask", counts, width, height });
  page.workspace?.change(0, { name: task.label });
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
