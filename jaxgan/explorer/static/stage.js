// The picture and what lies on it: ghost, maps, paint, handles. Pointers become changes of the scene.

import { CENTRES, centre, moved, widened, width } from "./place.js";
import { BASE64 } from "./scene.js";

const SVG = "http://www.w3.org/2000/svg";
const REACH = 0.06; // of the stage, around a centre
const SCRUB = 6; // deviations that a drag over the whole picture moves

export class Stage {
  constructor(root, history, options) {
    this.root = root;
    this.history = history;
    this.options = options; // {tool, linked, colour, size, model, scrub}, read when a gesture begins
    this.picture = root.querySelector("#picture");
    this.ghost = root.querySelector("#ghost");
    this.overlay = root.querySelector("#overlay");
    this.drawing = root.querySelector("#drawing");
    this.handles = root.querySelector("#handles");
    this.box = root.querySelector("#box");
    this.marks = root.querySelector("#marks"); // of a region
    this.place = null; // as the server last said
    this.part = null; // a box that waits to be dragged
    this.shown = null; // what of the history's paint is on the canvases
    root.addEventListener("pointerdown", (event) => this.down(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) root.addEventListener(kind, (event) => this.up(event));
    root.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.handles.addEventListener("keydown", (event) => this.key(event));
  }

  shape(model) {
    if (this.picture.width === model.width && this.picture.height === model.height && this.shaped) return; // paint stays
    this.shaped = true;
    for (const canvas of [this.picture, this.ghost, this.overlay]) [canvas.width, canvas.height] = [model.width, model.height];
    for (const canvas of [this.drawing, this.marks]) [canvas.width, canvas.height] = [Math.round((256 * model.width) / model.height), 256];
    this.root.style.aspectRatio = `${model.width} / ${model.height}`;
    for (const canvas of [this.picture, this.ghost]) canvas.style.imageRendering = model.width < 256 ? "pixelated" : "auto";
  }

  async show({ header, bytes }) {
    const image = await createImageBitmap(new Blob([bytes], { type: header.media }));
    if (header.id < Number(document.body.dataset.painted || 0)) return image.close(); // a newer one was decoded sooner
    const context = this.picture.getContext("2d");
    context.imageSmoothingEnabled = image.width >= 128;
    context.drawImage(image, 0, 0, this.picture.width, this.picture.height);
    image.close();
    document.body.dataset.painted = header.id;
  }

  keepBefore() {
    this.ghost.getContext("2d").drawImage(this.picture, 0, 0);
  }

  async showOverlay(bytes) {
    const context = this.overlay.getContext("2d", { willReadFrequently: true });
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    if (!bytes) return;
    const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    context.drawImage(image, 0, 0, this.overlay.width, this.overlay.height);
    const data = context.getImageData(0, 0, this.overlay.width, this.overlay.height);
    for (let i = 0; i < data.data.length; i += 4) {
      const v = data.data[i] / 255; // from blue over yellow to red, and more opaque
      data.data[i] = 255 * Math.min(1, 2 * v);
      data.data[i + 1] = 255 * (v < 0.5 ? 0.3 + v : 1.6 * (1 - v));
      data.data[i + 2] = 255 * Math.max(0, 1 - 2 * v);
      data.data[i + 3] = 255 * (0.25 + 0.75 * v);
    }
    context.putImageData(data, 0, 0);
  }

  // Handles

  showPlace(place) {
    this.place = place;
    if (!place || this.options().tool !== "grab") return this.handles.replaceChildren();
    if (!this.handles.childElementCount) {
      for (const [level, count] of CENTRES.entries()) {
        for (let index = 0; index < count; index++) this.handles.append(this.handle(level, index));
      }
    }
    for (const group of this.handles.children) {
      const [level, index] = [Number(group.dataset.level), Number(group.dataset.index)];
      const [y, x] = centre(place, level, index);
      const shown = (v) => 50 + 50 * Math.max(-0.97, Math.min(0.97, v)); // a centre outside is shown at the edge
      group.setAttribute("transform", `translate(${shown(x)} ${shown(y)})`);
      group.setAttribute("aria-valuenow", Math.round(50 * (x + 1)));
      group.querySelector(".reach").setAttribute("r", 20 * Math.sqrt(width(place, level, index)));
      group.setAttribute("aria-valuetext", `${(100 * (y + 1)) / 2 | 0} % down, ${(100 * (x + 1)) / 2 | 0} % right`);
    }
  }

  handle(level, index) {
    const group = document.createElementNS(SVG, "g");
    Object.assign(group.dataset, { level, index });
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "slider");
    group.setAttribute("aria-label", `Centre ${index + 1} of level ${level + 1}`);
    for (const [kind, radius] of [["reach", 10], ["hit", 5], ["dot", [3.2, 2.6, 2.1][level]]]) {
      const circle = document.createElementNS(SVG, "circle");
      circle.setAttribute("class", `${kind} level${level}`);
      circle.setAttribute("r", radius);
      group.append(circle);
    }
    group.querySelector(".reach").style.pointerEvents = "none";
    return group;
  }

  key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const group = event.target.closest("g");
    if (!group || !this.place || (!step && !"+-".includes(event.key))) return;
    event.preventDefault();
    event.stopPropagation();
    const [level, index] = [Number(group.dataset.level), Number(group.dataset.index)];
    const [y, x] = centre(this.place, level, index);
    const to = step ? [y + 0.1 * step[0], x + 0.1 * step[1]] : null;
    const next = to ? moved(this.place, level, index, to, this.options().linked)
      : widened(this.place, level, index, event.key === "+" ? 1.15 : 1 / 1.15);
    this.setPlace(next, false);
  }

  setPlace(place, moving) {
    this.showPlace(place);
    this.history.change({ place }, { moving });
  }

  // Pointers

  point(event) {
    const area = this.root.getBoundingClientRect();
    return [(event.clientY - area.top) / area.height, (event.clientX - area.left) / area.width]; // (y, x) in [0, 1]
  }

  down(event) {
    if (event.button || !this.options().model) return;
    if (this.gesture) return this.pinch(event);
    const [y, x] = this.point(event);
    const { tool } = this.options();
    this.gesture = { tool, pointer: event.pointerId, from: [y, x], last: [y, x], scene: structuredClone(this.history.scene) };
    this.root.setPointerCapture(event.pointerId);
    event.preventDefault();
    if (tool === "grab") {
      if (this.place) Object.assign(this.gesture, this.nearest(y, x));
      if (this.gesture.group) this.gesture.group.focus();
    } else if (tool === "part") {
      const inside = this.part && y >= this.part[0] && y <= this.part[2] && x >= this.part[1] && x <= this.part[3];
      this.gesture.carried = inside ? [...this.part] : null;
    } else this.stroke(y, x);
  }

  // The centre that a finger or pointer means: the nearest one, whose areas overlap; none of them carries the coarsest
  // along by as much.
  nearest(y, x) {
    const found = { level: 0, index: 0, place: this.place, apart: true };
    let least = REACH;
    for (const group of this.handles.children) {
      const [, atX, atY] = /translate\(([-\d.]+) ([-\d.]+)\)/.exec(group.getAttribute("transform"));
      const distance = Math.hypot(x - atX / 100, y - atY / 100);
      if (distance >= least) continue;
      least = distance;
      Object.assign(found, { level: Number(group.dataset.level), index: Number(group.dataset.index), apart: false, group });
    }
    return found;
  }

  move(event) {
    const gesture = this.gesture;
    if (gesture && gesture.second) return this.pinched(gesture, event);
    if (!gesture || gesture.pointer !== event.pointerId) return;
    const [y, x] = this.point(event);
    gesture.moved = true;
    if (gesture.tool === "grab") {
      gesture.last = [y, x];
      this.grab(gesture, y, x, true);
    } else if (gesture.tool === "part") this.showPart(gesture, y, x);
    else this.stroke(y, x);
  }

  // A second finger changes the width of the centre that the first one holds.
  pinch(event) {
    const gesture = this.gesture;
    if (gesture.tool !== "grab" || !this.place || gesture.second) return;
    this.root.setPointerCapture(event.pointerId);
    event.preventDefault();
    const at = this.point(event);
    gesture.second = { pointer: event.pointerId, at, place: this.place, apart: Math.max(0.02, between(gesture.last, at)) };
  }

  pinched(gesture, event) {
    if (event.pointerId === gesture.pointer) gesture.last = this.point(event);
    else if (event.pointerId === gesture.second.pointer) gesture.second.at = this.point(event);
    else return;
    const { at, place, apart } = gesture.second;
    const factor = (between(gesture.last, at) / apart) ** 2; // a width is a square of what it reaches
    this.setPlace(widened(place, gesture.level, gesture.index, factor), true);
  }

  up(event) {
    const gesture = this.gesture;
    const second = gesture && gesture.second && gesture.second.pointer === event.pointerId;
    if (!gesture || (gesture.pointer !== event.pointerId && !second)) return;
    this.gesture = null;
    if (event.type === "pointercancel") { // as it was before the gesture
      this.shown = undefined; // half of a stroke may be on the canvas
      this.noPart();
      return this.history.go(this.history.at);
    }
    if (gesture.second) return this.history.commit();
    const [y, x] = this.point(event);
    if (gesture.tool === "part") this.dropPart(gesture, y, x);
    else if (gesture.tool !== "grab") this.painted();
    else if (gesture.moved) this.grab(gesture, y, x, false);
  }

  grab(gesture, y, x, moving) {
    if (this.place) {
      const [fromY, fromX] = centre(gesture.place, gesture.level, gesture.index);
      const to = gesture.apart ? [fromY + 2 * (y - gesture.from[0]), fromX + 2 * (x - gesture.from[1])] : [2 * y - 1, 2 * x - 1];
      this.setPlace(moved(gesture.place, gesture.level, gesture.index, to, this.options().linked), moving);
      return;
    }
    const names = this.options().scrub;
    if (!names.length) return;
    const moves = { ...(gesture.scene.moves || {}) };
    const by = [x - gesture.from[1], y - gesture.from[0]];
    names.forEach((name, i) => {
      const limit = this.options().strength;
      moves[name] = Math.max(-limit, Math.min(limit, Number(((moves[name] || 0) + SCRUB * by[i]).toFixed(3))));
    });
    this.history.change({ moves }, { moving });
  }

  wheel(event) {
    const group = event.target.closest && event.target.closest("g");
    if (!group || !this.place) return;
    event.preventDefault();
    const factor = Math.exp(-event.deltaY / 500);
    this.setPlace(widened(this.place, Number(group.dataset.level), Number(group.dataset.index), factor), true);
    clearTimeout(this.resting);
    if (!this.gesture) this.resting = setTimeout(() => this.history.commit(), 250); // or with the gesture's end
  }

  // Paint

  stroke(y, x) {
    const { tool, colour, size } = this.options();
    this.drawing.classList.remove("made");
    const line = [this.gesture.last, [y, x]];
    this.gesture.last = [y, x];
    if (tool === "erase") for (const canvas of [this.drawing, this.marks]) stroked(canvas, line, size, null);
    else if (tool === "region") stroked(this.marks, line, size, "#7db0ff");
    else stroked(this.drawing, line, size, colour);
  }

  // Takes paint and marks away; the next step of the history is without them.
  clear() {
    for (const canvas of [this.drawing, this.marks]) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    }
    this.history.paint = this.shown = null;
    this.noPart();
  }

  // Takes a region's marks away, and leaves the drawing.
  clearMarks() {
    this.marks.getContext("2d").clearRect(0, 0, this.marks.width, this.marks.height);
    this.noPart();
    if (this.history.paint) this.keepPaint();
  }

  noPart() {
    this.part = null;
    this.box.hidden = true;
  }

  keepPaint() {
    this.history.paint = this.shown = Object.freeze({ drawing: this.drawing.toDataURL(), marks: this.marks.toDataURL() });
  }

  // A stroke is done: a step of the history.
  painted() {
    this.keepPaint();
    this.history.commit();
  }

  // Shows what the history says was painted.
  async showPaint() {
    const paint = this.history.paint;
    if (paint === this.shown) return;
    this.shown = paint;
    this.drawing.classList.remove("made");
    for (const name of ["drawing", "marks"]) {
      const image = paint && new Image();
      if (paint) {
        image.src = paint[name];
        await image.decode();
      }
      if (this.shown !== paint) return; // a newer step is shown by now
      const context = this[name].getContext("2d");
      context.globalCompositeOperation = "source-over";
      context.clearRect(0, 0, this[name].width, this[name].height);
      if (paint) context.drawImage(image, 0, 0, this[name].width, this[name].height);
    }
  }

  // The drawing as base64 of a PNG; "" where nothing is drawn.
  drawn() {
    const data = this.drawing.getContext("2d").getImageData(0, 0, this.drawing.width, this.drawing.height).data;
    for (let i = 3; i < data.length; i += 4) if (data[i]) return this.drawing.toDataURL("image/png").split(",")[1];
    return "";
  }

  // The marked region as base64 of grid x grid bytes; "" where nothing is marked.
  marked(grid) {
    const small = document.createElement("canvas");
    [small.width, small.height] = [grid, grid];
    const context = small.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(this.marks, 0, 0, grid, grid);
    const data = context.getImageData(0, 0, grid, grid).data;
    const mask = new Uint8Array(grid * grid).map((_, i) => data[4 * i + 3]);
    return mask.some((v) => v > 20) ? BASE64.fromBytes(mask) : "";
  }

  // Parts

  showPart(gesture, y, x) {
    const box = gesture.carried
      ? gesture.carried.map((v, i) => v + (i % 2 ? x - gesture.from[1] : y - gesture.from[0]))
      : [Math.min(y, gesture.from[0]), Math.min(x, gesture.from[1]), Math.max(y, gesture.from[0]), Math.max(x, gesture.from[1])];
    this.box.hidden = false;
    const [top, left, bottom, right] = box.map((v) => 100 * v);
    Object.assign(this.box.style, { top: `${top}%`, left: `${left}%`, height: `${bottom - top}%`, width: `${right - left}%` });
    return box;
  }

  dropPart(gesture, y, x) {
    const box = this.showPart(gesture, y, x);
    if (!gesture.carried) {
      const inside = box.map((v) => Math.max(0, Math.min(1, v)));
      this.part = inside[2] - inside[0] > 0.04 && inside[3] - inside[1] > 0.04 ? inside : null;
      this.box.hidden = !this.part;
      return;
    }
    if (!this.options().model.mapped && !(this.history.scene.regions || []).length) {
      this.box.hidden = true;
      return this.root.dispatchEvent(new CustomEvent("refused", { detail: "this latent is the same everywhere, so there is no part to copy; mark a region first" }));
    }
    const parts = [...(this.history.scene.parts || []), { box: gesture.carried, to: [box[0], box[1]].map((v) => Math.max(-1, Math.min(1, v))), ...this.options().part }];
    this.part = null;
    this.box.hidden = true;
    if (parts.length > this.options().mostParts) return this.root.dispatchEvent(new CustomEvent("refused", { detail: `${this.options().mostParts} parts at most; remove some` }));
    this.history.change({ parts });
  }
}

function between([y, x], [toY, toX]) {
  return Math.hypot(toY - y, toX - x);
}

// A line on a canvas, its ends (y, x) in shares of it and its width in hundredths of the height; without a colour it erases.
function stroked(canvas, [from, to], size, colour) {
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = colour ? "source-over" : "destination-out";
  context.strokeStyle = colour || "#000";
  context.lineWidth = (size / 100) * canvas.height;
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(from[1] * canvas.width, from[0] * canvas.height);
  context.lineTo(to[1] * canvas.width + 0.01, to[0] * canvas.height);
  context.stroke();
}
