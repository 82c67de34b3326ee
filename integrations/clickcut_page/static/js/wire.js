// The wire contract: requests -> bytes, bytes -> replies. The messages come from the server, so the
// page always speaks the contract of the engine package that serves it.

import {
  create,
  createFileRegistry,
  FileDescriptorSetSchema,
  fromBinary,
  toBinary,
} from "../vendor/protobuf.js";

export const MASK_RLE = 1;
export const MASK_NONE = 3;

export class Wire {
  /** @param {any} registry */
  constructor(registry) {
    this.request = registry.getMessage("clickcut.v1.SessionRequest");
    this.reply = registry.getMessage("clickcut.v1.SessionReply");
  }

  /** Loads the contract. */
  static async load() {
    const answer = await fetch("contract");
    if (!answer.ok) throw new Error(`the page's server answers with ${answer.status}`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return new Wire(createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes)));
  }

  /**
   * Whether the contract has an event, or a field of one: "moveClick", "nextObject.exclude".
   * @param {string} path
   */
  has(path) {
    const [event, field] = path.split(".");
    const found = this.request.fields.find((/** @type {any} */ f) => f.localName === event);
    if (!found || !field) return Boolean(found);
    return found.message.fields.some((/** @type {any} */ f) => f.localName === field);
  }

  /**
   * @param {any} request plain fields of a SessionRequest
   * @returns {Uint8Array<ArrayBuffer>}
   */
  encode(request) {
    return toBinary(this.request, create(this.request, request));
  }

  /**
   * @param {ArrayBuffer} data
   * @returns {any} a SessionReply
   */
  decode(data) {
    return fromBinary(this.reply, new Uint8Array(data));
  }
}
