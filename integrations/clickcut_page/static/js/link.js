// One WebSocket = one Session stream. Each request gets one reply, in order.

const REPLY_MS = 60_000;

/** How a stream or an event ended; `kind` is the class of the engine's error. */
export class EngineError extends Error {
  /**
   * @param {string} kind
   * @param {string} message
   */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

export class Link {
  /**
   * @param {import("./wire.js").Wire} wire
   * @param {WebSocket} socket open
   */
  constructor(wire, socket) {
    this.wire = wire;
    this.socket = socket;
    /** @type {{resolve: (reply: any) => void, reject: (error: Error) => void, timer: number}[]} */
    this.waiting = [];
    /** @type {EngineError | null} */
    this.ended = null;
    /** Told once when the stream ends by itself. @type {(error: EngineError) => void} */
    this.onend = () => {};
    this.received = 0;
    this.sent = 0;
    socket.onmessage = (message) => this.#receive(message.data);
    socket.onclose = () => this.#end(new EngineError("UnreachableError", "the connection broke"));
  }

  /** @param {import("./wire.js").Wire} wire */
  static open(wire) {
    const url = new URL("session", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    return /** @type {Promise<Link>} */ (
      new Promise((resolve, reject) => {
        socket.onopen = () => resolve(new Link(wire, socket));
        socket.onclose = () =>
          reject(new EngineError("UnreachableError", "the page's server cannot be reached"));
      })
    );
  }

  /**
   * @param {any} request
   * @returns {Promise<any>} its reply
   */
  send(request) {
    if (this.ended) return Promise.reject(this.ended);
    const data = this.wire.encode(request);
    this.sent += data.byteLength;
    this.socket.send(data);
    return new Promise((resolve, reject) => {
      const stalled = () =>
        this.#end(new EngineError("StalledError", "the engine did not answer in time"));
      this.waiting.push({ resolve, reject, timer: window.setTimeout(stalled, REPLY_MS) });
    });
  }

  /** Give the stream up; nothing is told. */
  close() {
    this.onend = () => {};
    this.#end(new EngineError("UnreachableError", "the stream was given up"));
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    if (typeof data === "string") {
      const status = JSON.parse(data);
      this.#end(new EngineError(status.error, status.message));
      return;
    }
    this.received += data.byteLength;
    const first = this.waiting.shift();
    if (!first) return;
    window.clearTimeout(first.timer);
    first.resolve(this.wire.decode(data));
  }

  /** @param {EngineError} error */
  #end(error) {
    if (this.ended) return;
    this.ended = error;
    this.socket.close();
    for (const one of this.waiting.splice(0)) {
      window.clearTimeout(one.timer);
      one.reject(error);
    }
    this.onend(error);
  }
}
