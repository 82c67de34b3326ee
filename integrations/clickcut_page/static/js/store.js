// What is kept in the browser, so that a reload or a crash loses nothing.

const NAME = "clickcut";
const KEPT = 5;

/** @type {Promise<IDBDatabase | null> | null} */
let opening = null;

function database() {
  opening ??= new Promise((resolve) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("workspaces", { keyPath: "id" });
      request.result.createObjectStore("images");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null); // a private window: the page works, it forgets
  });
  return opening;
}

/**
 * @template T
 * @param {string[]} stores
 * @param {IDBTransactionMode} mode
 * @param {(transaction: IDBTransaction) => IDBRequest<T>} work
 * @returns {Promise<T | undefined>}
 */
async function run(stores, mode, work) {
  const db = await database();
  if (!db) return undefined;
  return new Promise((resolve) => {
    const transaction = db.transaction(stores, mode, { durability: "relaxed" });
    const request = work(transaction);
    transaction.commit(); // at once: a page that goes away now must not take it along
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => resolve(undefined);
  });
}

/**
 * @param {string} id
 * @returns {Promise<any>} a workspace's record, with its image file; undefined when there is none
 */
export async function load(id) {
  const record = await run(["workspaces"], "readonly", (t) => t.objectStore("workspaces").get(id));
  const file = await run(["images"], "readonly", (t) => t.objectStore("images").get(id));
  return record && file ? { record, file } : undefined;
}

/** @param {any} record plain data with an `id` */
export function save(record) {
  return run(["workspaces"], "readwrite", (t) => t.objectStore("workspaces").put(record));
}

/**
 * Keeps the image of a workspace, and prunes the oldest workspaces.
 * @param {string} id
 * @param {Blob} file
 */
export async function saveImage(id, file) {
  await run(["images"], "readwrite", (t) => t.objectStore("images").put(file, id));
  for (const old of (await recent()).slice(KEPT)) await remove(old.id);
}

/** Forgets a workspace and its image. @param {string} id */
export function remove(id) {
  return run(["workspaces", "images"], "readwrite", (t) => {
    t.objectStore("images").delete(id);
    return t.objectStore("workspaces").delete(id);
  });
}

/** @returns {Promise<any[]>} records, newest first */
export async function recent() {
  const all = await run(["workspaces"], "readonly", (t) => t.objectStore("workspaces").getAll());
  return (all ?? []).sort((a, b) => b.changed - a.changed);
}
