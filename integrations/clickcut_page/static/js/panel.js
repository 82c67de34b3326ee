// The list of objects: colour, name, area; edit again, hide, delete.

/** @type {Map<number, HTMLLIElement>} */
const rows = new Map();

/**
 * @param {HTMLElement} list
 * @param {import("./workspace.js").Workspace | null} workspace
 * @param {(index: number) => string} colour
 */
export function render(list, workspace, colour) {
  const items = workspace?.items.filter((item) => !item.deleted) ?? [];
  for (const [index, row] of rows) {
    if (!items.some((item) => item.index === index) || row.parentElement !== list) {
      row.remove();
      rows.delete(index);
    }
  }
  for (const item of items) {
    let row = rows.get(item.index);
    if (!row || row.dataset.workspace !== workspace?.id) {
      row?.remove();
      row = build(/** @type {any} */ (workspace), item.index);
      rows.set(item.index, row);
      list.append(row);
    }
    update(row, /** @type {any} */ (workspace), item, colour(item.colour));
  }
}

/** @param {import("./workspace.js").Workspace} workspace @param {number} index */
function build(workspace, index) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("object-row"));
  const row = /** @type {HTMLLIElement} */ (
    /** @type {Element} */ (template.content.firstElementChild).cloneNode(true)
  );
  row.dataset.workspace = workspace.id;
  const name = /** @type {HTMLInputElement} */ (row.querySelector(".name"));
  const before = () => workspace.items[index].name;
  name.onchange = () => {
    workspace.change(index, { name: name.value.trim().slice(0, 200) || before() });
    name.value = before();
  };
  name.onkeydown = (event) => {
    if (event.key === "Escape") name.value = before();
    if (event.key === "Enter" || event.key === "Escape") name.blur();
    event.stopPropagation();
  };
  button(row, ".edit").onclick = () => workspace.edit(index);
  button(row, ".hide").onclick = () => workspace.change(index, { hidden: !workspace.items[index].hidden });
  button(row, ".delete").onclick = () => workspace.delete(index);
  return row;
}

/**
 * @param {HTMLLIElement} row
 * @param {import("./workspace.js").Workspace} workspace
 * @param {import("./objects.js").Item} item
 * @param {string} colour
 */
function update(row, workspace, item, colour) {
  const isCurrent = item.index === workspace.current;
  row.classList.toggle("current", isCurrent);
  row.classList.toggle("hidden-object", item.hidden);
  row.setAttribute("aria-current", String(isCurrent));
  /** @type {HTMLElement} */ (row.querySelector(".swatch")).style.background = colour;
  const name = /** @type {HTMLInputElement} */ (row.querySelector(".name"));
  if (document.activeElement !== name) name.value = item.name;
  name.setAttribute("aria-label", `Name of ${item.name}`);
  const area = item.area ? `${item.area.toLocaleString("en")} px` : "nothing selected yet";
  const text = /** @type {HTMLElement} */ (row.querySelector(".area"));
  if (text.textContent !== area) text.textContent = area;
  const edit = button(row, ".edit");
  edit.hidden = isCurrent || !workspace.canEditEarlier;
  edit.setAttribute("aria-label", `Edit ${item.name} again`);
  const hide = button(row, ".hide");
  hide.setAttribute("aria-pressed", String(item.hidden));
  hide.setAttribute("aria-label", `Hide ${item.name}`);
  button(row, ".delete").setAttribute("aria-label", `Delete ${item.name}`);
}

/** @param {HTMLElement} row @param {string} selector */
function button(row, selector) {
  return /** @type {HTMLButtonElement} */ (row.querySelector(selector));
}
