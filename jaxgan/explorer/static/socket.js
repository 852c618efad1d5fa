// The server, as the rest of the page sees it: requests with answers, and the newest frame only.

export class Server extends EventTarget {
  constructor() {
    super();
    this.next = 1;
    this.waiting = new Map(); // id -> {resolve, reject, news, parts, count}
    this.newest = {}; // by type: the id whose answer is still wanted
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/socket`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.take(event.data);
    this.socket.onclose = () => {
      for (const one of this.waiting.values()) one.reject(new Error("the connection was lost"));
      this.waiting.clear();
      if (this.left) return; // it is opened again when something is asked
      this.dispatchEvent(new Event("lost"));
      setTimeout(() => this.open(), 1500);
    };
  }

  take(data) {
    const size = new DataView(data).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)));
    const bytes = data.slice(4 + size);
    if (header.type === "hello") return this.dispatchEvent(new CustomEvent("hello", { detail: header }));
    if (header.type === "bye") {
      this.left = true;
      return this.dispatchEvent(new CustomEvent("bye", { detail: header }));
    }
    const one = this.waiting.get(header.id);
    if (!one) return; // a newer request has taken its place
    if (header.type === "news") return one.news && one.news(header, bytes);
    if (one.type === "frame") this.pass(header.id);
    if (header.type === "error") {
      this.waiting.delete(header.id);
      if (String(header.id) === document.body.dataset.asked) document.body.dataset.painted = header.id;
      return one.reject(new Error(header.message));
    }
    one.parts.push({ header, bytes });
    if (one.parts.length < one.count) return;
    this.waiting.delete(header.id);
    one.resolve(one.count === 1 ? one.parts[0] : one.parts);
  }

  // The server answers frames in order and leaves out those that a newer one replaced while they waited there.
  pass(id) {
    for (const [other, one] of this.waiting) {
      if (one.type !== "frame" || other >= id) continue;
      this.waiting.delete(other);
      one.reject(replaced());
    }
  }

  // A promise of the answer. Of "thumbs" and "overlay" only the newest request's is kept, and a "frame" is passed over
  // once a newer one has come: such a request fails with `replaced`.
  ask(message, { news = null, count = 1 } = {}) {
    const id = this.next++;
    if (message.type === "frame") document.body.dataset.asked = id; // and `painted` once it is: tests wait for that
    if (["thumbs", "overlay"].includes(message.type)) {
      const older = this.waiting.get(this.newest[message.type]);
      this.waiting.delete(this.newest[message.type]);
      if (older) older.reject(replaced());
      this.newest[message.type] = id;
    }
    return new Promise((resolve, reject) => {
      if (this.left) {
        this.left = false;
        this.open();
      }
      const { readyState } = this.socket;
      if (readyState > WebSocket.OPEN) return reject(new Error("connecting again; nothing is lost"));
      const send = () => this.socket.send(JSON.stringify({ ...message, id }));
      this.waiting.set(id, { type: message.type, resolve, reject, news, parts: [], count });
      if (readyState === WebSocket.OPEN) send();
      else this.socket.addEventListener("open", () => { if (this.waiting.has(id)) send(); }, { once: true });
    });
  }
}

function replaced() {
  return Object.assign(new Error("a newer one was asked for"), { replaced: true });
}

export function url(bytes, media = "image/png") {
  return URL.createObjectURL(new Blob([bytes], { type: media }));
}
