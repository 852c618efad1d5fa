// Longer work: a photograph's latent, scribbles, the realism direction. One job at a time, with its progress.

import { choice } from "./choice.js";

const $ = (id) => document.getElementById(id);

export class Work {
  constructor(server, history, stage, say, model, limits) {
    Object.assign(this, { server, history, stage, say, model, limits });
    $("cancel").addEventListener("click", () => server.ask({ type: "cancel" }).catch(() => {}));
    $("file").addEventListener("change", () => this.upload($("file").files[0]));
    const drop = $("drop");
    for (const kind of ["dragover", "dragleave", "drop"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragover");
        if (kind === "drop") this.upload(event.dataTransfer.files[0]);
      });
    }
    $("make").addEventListener("click", () => this.scribble());
    $("clear").addEventListener("click", () => { stage.clear(); history.commit(); });
  }

  // The answer of a job, or null where it failed or was cancelled, which is said.
  async run(message, news = () => {}) {
    if (!$("job").hidden) {
      this.say("one job at a time; cancel the other first", true);
      return null;
    }
    $("job").hidden = false;
    $("progress").removeAttribute("value");
    $("job-note").textContent = "preparing …";
    try {
      const { header } = await this.server.ask(message, {
        news: (header, bytes) => {
          if (header.total) {
            $("progress").value = header.done / header.total;
            $("job-note").textContent = `${Math.round((100 * header.done) / header.total)} %`;
          } else news(header, bytes);
        },
      });
      if (header.note) this.say(header.note);
      return header;
    } catch (error) {
      this.say(error.message, true);
      return null;
    } finally {
      $("job").hidden = true;
    }
  }

  async upload(file) {
    if (!file) return;
    const { upload } = this.limits();
    if (file.size > upload) return this.say(`${file.name} is too large: pictures of ${upload >> 20} MB at most are taken`, true);
    const given = $("photo-given");
    given.src = URL.createObjectURL(file);
    given.hidden = false;
    let answer;
    try {
      const sent = await fetch("/upload", { method: "POST", body: file, headers: { "x-jaxgan": "upload" } });
      answer = await sent.json().catch(() => ({ error: `the server does not take the picture (${sent.status}); load the page anew` }));
    } catch {
      answer = { error: "the picture could not be sent; is the server still there?" };
    }
    if (answer.error) {
      given.hidden = true;
      $("file").value = "";
      return this.say(answer.error, true);
    }
    const message = { type: "job", kind: "invert", photo: answer.photo, steps: Number($("photo-steps").value), scenes: [this.history.scene] };
    const { label, noise } = this.history.scene;
    const done = await this.run(message, (_, bytes) => paint($("photo-found"), bytes));
    $("file").value = "";
    if (!done) return;
    this.history.replace({ label, noise, ...done.latents[0] });
  }

  async scribble() {
    const drawing = this.stage.drawn();
    if (!this.model().photos) return this.say("this generator's latents are maps, which scribbles are not looked for in yet", true);
    if (!drawing) return this.say("paint something first, with the Brush", true);
    const message = {
      type: "job", kind: "scribble", drawing, steps: Number($("paint-steps").value),
      likely: $("likely").checked, near: $("near").checked, scenes: [this.history.scene],
    };
    const pictures = [];
    $("paint-found").hidden = false;
    const done = await this.run(message, (header, bytes) => {
      if (header.candidate === undefined) paint($("paint-found"), bytes);
      else pictures[header.candidate] = bytes;
    });
    $("paint-found").hidden = true;
    if (!done) return;
    this.stage.drawing.classList.add("made"); // the result is to be seen under it
    const { label, noise } = this.history.scene;
    const take = (i) => this.history.replace({ label, noise, ...done.latents[i] });
    $("candidates").replaceChildren(...pictures.map((bytes, i) => choice(bytes, "image/png", `Candidate ${i + 1}`, () => take(i))));
    take(0);
  }
}

async function paint(canvas, bytes) {
  const image = await createImageBitmap(new Blob([bytes]));
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").drawImage(image, 0, 0);
}
