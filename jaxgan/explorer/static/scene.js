// The scene that is shown, what came before it, and its ways out: a link, a file. Beside each scene stand what was
// painted over it, as the stage gives it (an object that is never changed, or null), and the keys of the walk (an array
// that is never changed).

export const BASE64 = {
  fromBytes: (bytes) => btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join("")),
};

const LONGEST_LINK = 8000;
const NO_KEYS = Object.freeze([]);

export class History extends EventTarget {
  constructor() {
    super();
    this.past = [{ v: 1, seed: 0 }];
    this.paints = [null];
    this.paint = null;
    this.walks = [NO_KEYS];
    this.keys = NO_KEYS;
    this.at = 0;
    this.live = structuredClone(this.past[0]);
  }

  get scene() {
    return this.live;
  }

  // Shows a changed scene. While something is dragged nothing is remembered; `commit` then ends it.
  change(fields, { moving = false } = {}) {
    this.live = clean({ ...this.live, ...fields });
    if (!moving) this.commit();
    else this.dispatchEvent(new CustomEvent("change", { detail: { moving: true } }));
  }

  replace(scene) {
    this.live = clean({ v: 1, ...scene });
    this.commit();
  }

  commit() {
    if (this.pending) {
      this.past = [...this.past.slice(0, this.at + 1), structuredClone(this.live)].slice(-60);
      this.paints = [...this.paints.slice(0, this.at + 1), this.paint].slice(-60);
      this.walks = [...this.walks.slice(0, this.at + 1), this.keys].slice(-60);
      this.at = this.past.length - 1;
    }
    this.dispatchEvent(new CustomEvent("change", { detail: { moving: false } }));
  }

  go(to) {
    if (to < 0 || to >= this.past.length) return;
    this.at = to;
    this.live = structuredClone(this.past[to]);
    this.paint = this.paints[to];
    this.keys = this.walks[to];
    this.dispatchEvent(new CustomEvent("change", { detail: { moving: false, travelled: true } }));
  }

  // Whether a step has begun that is not remembered yet.
  get pending() {
    return this.paint !== this.paints[this.at] || this.keys !== this.walks[this.at] || JSON.stringify(this.live) !== JSON.stringify(this.past[this.at]);
  }

  undo() {
    if (this.pending) this.commit();
    this.go(this.at - 1);
  }

  redo() {
    this.go(this.at + 1);
  }
}

function clean(scene) {
  const kept = {};
  for (const [name, value] of Object.entries(scene)) {
    const empty = value === null || value === undefined || (Array.isArray(value) && !value.length);
    if (!empty && !(name === "moves" && !Object.keys(value).length)) kept[name] = value;
  }
  return kept;
}

// A link that opens this scene; null where it is too long for one.
export function toLink(scene) {
  const text = BASE64.fromBytes(new TextEncoder().encode(JSON.stringify(scene)));
  const words = text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const link = `${location.origin}${location.pathname}#scene=${words}`;
  return link.length > LONGEST_LINK ? null : link;
}

export function fromLink(hash) {
  const found = /^#scene=([\w-]+)$/.exec(hash);
  if (!found) return null;
  try {
    const bytes = Uint8Array.from(atob(found[1].replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

export function download(href, name) {
  const link = document.createElement("a");
  link.href = href;
  link.download = name;
  link.click();
}
