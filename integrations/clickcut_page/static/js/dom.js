// Elements of the page by id, typed.

/** @param {string} id @returns {HTMLElement} */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

/** @param {string} id */
export const button = (id) => /** @type {HTMLButtonElement} */ (element(id));
/** @param {string} id */
export const input = (id) => /** @type {HTMLInputElement} */ (element(id));
/** @param {string} id */
export const dialog = (id) => /** @type {HTMLDialogElement} */ (element(id));
/** @param {string} id */
export const canvas = (id) => /** @type {HTMLCanvasElement} */ (element(id));

/**
 * The chosen value of a group of radio buttons.
 * @param {string} name
 */
export function chosen(name) {
  const found = document.querySelector(`input[name="${name}"]:checked`);
  return found instanceof HTMLInputElement ? found.value : "";
}

/** @param {string} name @param {string} value */
export function choose(name, value) {
  const found = document.querySelector(`input[name="${name}"][value="${value}"]`);
  if (found instanceof HTMLInputElement) found.checked = true;
}
