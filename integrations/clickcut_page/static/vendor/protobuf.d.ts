// What the page uses of the bundle; messages are plain objects here.
export function create(schema: any, value?: any): any;
export function createFileRegistry(set: any): any;
export function fromBinary(schema: any, bytes: Uint8Array): any;
export function toBinary(schema: any, message: any): Uint8Array<ArrayBuffer>;
export const FileDescriptorSetSchema: any;
