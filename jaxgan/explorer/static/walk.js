// A walk through key pictures: a timeline to move on, to play, to export. The keys are the history's.

import { download } from "./scene.js";

const $ = (id) => document.getElementById(id);

export class Walk {
  constructor(server, work, history, stage, say, thumbnail) {
    Object.assign(this, { server, work, history, stage, say, thumbnail });
    this.shown = this.keys;
    this.playing = false;
    $("key-add").addEventListener("click", () => this.add());
    $("key-none").addEventListener("click", () => this.set([]));
    $("at").addEventListener("input", () => this.show(true));
    $("at").addEventListener("change", () => this.show());
    $("closed").addEventListener("change", () => this.bound());
    $("play").addEventListener("click", () => this.play());
    for (const button of document.querySelectorAll("[data-export]")) button.addEventListener("click", () => this.export(button.dataset.export));
  }

  get keys() {
    return this.history.keys;
  }

  // Whether a scene is a key, of now or of a step that may be taken back.
  uses(text) {
    return this.history.walks.some((keys) => keys.some((scene) => JSON.stringify(scene) === text));
  }

  add() {
    if (this.keys.length >= 32) return this.say("32 keys at most; remove some", true);
    this.set([...this.keys, structuredClone(this.history.scene)]);
    this.say(`key ${this.keys.length} added`);
  }

  get steps() {
    return this.keys.length - ($("closed").checked ? 0 : 1);
  }

  // A step of the history.
  set(keys) {
    this.history.keys = Object.freeze(keys);
    this.history.commit();
  }

  bound() {
    const enough = this.keys.length > 1;
    if (!enough) this.playing = false;
    $("play").disabled = $("at").disabled = !enough;
    $("at").max = Math.max(this.steps, 0.01);
  }

  // Shows the keys that the history has.
  refresh() {
    if (this.shown === this.keys) return;
    const keys = (this.shown = this.keys);
    this.bound();
    $("keys").replaceChildren(...keys.map((scene, i) => {
      const cell = document.createElement("div");
      const [go, remove] = [document.createElement("button"), document.createElement("button")];
      const image = document.createElement("img");
      if (this.thumbnail(scene)) image.src = this.thumbnail(scene);
      image.alt = `Key ${i + 1}`;
      go.append(image);
      go.addEventListener("click", () => this.history.replace(scene));
      remove.className = "remove";
      remove.textContent = "×";
      remove.setAttribute("aria-label", `Remove key ${i + 1}`);
      remove.addEventListener("click", () => this.set(this.keys.filter((_, k) => k !== i)));
      cell.append(go, remove);
      return cell;
    }));
  }

  async show(moving = this.playing) {
    const at = Math.min(this.playing ? this.at : Number($("at").value), this.steps);
    $("at").parentElement.querySelector("output").textContent = at.toFixed(2);
    try {
      const message = { type: "frame", scenes: this.keys, at, closed: $("closed").checked, moving };
      const part = await this.server.ask(message);
      await this.stage.show(part);
      this.stage.showPlace(part.header.place);
    } catch (error) {
      this.stop();
      if (!error.replaced) this.say(error.message, true);
    }
  }

  // Something else is shown.
  stop() {
    this.playing = this.resting = false;
  }

  async play() {
    if (this.keys.length < 2) return this.say("a walk needs two keys: Add this picture", true);
    this.playing = !this.playing;
    this.resting = true; // at a picture of the walk, until something else is shown
    $("play").textContent = this.playing ? "Pause" : "Play";
    const rate = Number($("fps").value) / Number($("frames").value); // keys a second
    this.at = Number($("at").value);
    let before = performance.now();
    while (this.playing) {
      const now = performance.now();
      this.at = (this.at + (rate * (now - before)) / 1000) % Math.max(this.steps, 0.01);
      before = now;
      $("at").value = this.at; // which rounds
      await this.show();
      await new Promise(requestAnimationFrame);
    }
    $("play").textContent = "Play";
    if (this.resting) this.show(); // the whole picture, in place of a small one
  }

  async export(kind) {
    if (kind === "png") return this.stage.picture.toBlob((blob) => download(URL.createObjectURL(blob), "picture.png"));
    const scenes = this.keys.length ? this.keys : [this.history.scene];
    let done = null;
    if (kind === "npz") {
      try {
        done = (await this.server.ask({ type: "still", kind, scenes })).header;
      } catch (error) {
        return this.say(error.message, true);
      }
    } else {
      if (this.keys.length < 2) return this.say("a film needs two keys: Add this picture", true);
      const [frames, fps] = [Number($("frames").value), Number($("fps").value)];
      done = await this.work.run({ type: "job", kind: "film", format: kind, frames, fps, closed: $("closed").checked, scenes });
    }
    if (!done) return;
    download(`/file/${done.file}`, done.name);
    this.say(`${done.name}: ${done.note}`);
  }
}
