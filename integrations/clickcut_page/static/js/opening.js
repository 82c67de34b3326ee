// A file -> an image that the browser shows and the engine takes.

/** What is wrong with a file, for the person who gave it. */
export class OpenError extends Error {}

/**
 * @param {Blob} file
 * @returns {Promise<HTMLImageElement>}
 */
export async function decode(file) {
  try {
    return await show(file);
  } catch {
    // A TIFF, or no image at all: the server decodes it as the engine does, or says what is wrong.
    const answer = await fetch("display", { method: "POST", body: file }).catch(() => null);
    if (!answer) throw new OpenError("The page's server is not there.");
    if (!answer.ok) {
      const refusal = await answer.json().catch(() => ({ message: `status ${answer.status}` }));
      throw new OpenError(refusal.message);
    }
    return show(await answer.blob());
  }
}

/** @param {Blob} blob */
async function show(blob) {
  const picture = new Image();
  picture.src = URL.createObjectURL(blob);
  picture.alt = "";
  picture.draggable = false;
  try {
    await picture.decode();
  } catch (error) {
    URL.revokeObjectURL(picture.src);
    throw error;
  }
  return picture;
}

/**
 * The SHA-256 of a file, hex; "" where the browser does not offer it (plain HTTP off this machine).
 * @param {Blob} file
 */
export async function digestOf(file) {
  if (!crypto.subtle) return "";
  const hash = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The image among what was dropped or pasted.
 * @param {DataTransfer | null} data
 * @returns {File | null}
 */
export function fileOf(data) {
  const files = [...(data?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0] ?? null;
}
