// The page: connects the server, the scene with its history, the stage and the panels.

import { History, download, fromLink, toLink } from "./scene.js";
import { Server, url } from "./socket.js";
import { Stage } from "./stage.js";
import { choice } from "./choice.js";
import { Walk } from "./walk.js";
import { Work } from "./work.js";

const $ = (id) => document.getElementById(id);
const server = new Server();
const history = new History();
let model = null;
let directions = [];
let limits = {};
let tool = "grab";
const thumbnails = new Map(); // scene as text -> object URL

const stage = new Stage($("stage"), history, () => ({
  tool,
  linked: $("linked").checked,
  colour: $("colour").value,
  size: Number($("size").value),
  model,
  scrub: [["pca:0", "pca:1"], ["z:0", "z:1"]].find((names) => names.every(known)) || directions.slice(0, 2).map((d) => d.name),
  strength: limits.strength || 10,
  mostParts: limits.parts || 4,
  part: partOptions(),
}));
const work = new Work(server, history, stage, say, () => model, () => limits);
const walk = new Walk(server, work, history, stage, say, thumbnail);

function known(name) {
  return directions.some((direction) => direction.name === name);
}

function say(text, error = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", error);
}

// The server

server.addEventListener("hello", ({ detail }) => {
  const first = !model;
  if (!first && detail.name !== $("name").textContent) return location.reload(); // the server has begun again with another
  ({ model, directions, limits } = detail);
  $("name").textContent = detail.name;
  document.title = `${detail.name} · jaxgan explorer`;
  stage.shape(model);
  if (first) build();
  say(detail.about);
  const left = first && kept(detail.name);
  const linked = first && !(left && left.hash === location.hash) && fromLink(location.hash);
  if (linked) open({ scene: linked }).catch((error) => { say(`the link cannot be opened: ${error.message}`, true); draw(false); });
  else if (left) open(left).catch(() => draw(false));
  else {
    if (first && damaged()) say("the link is damaged: it holds no picture", true);
    draw(false);
  }
});
server.addEventListener("lost", () => say("The connection to the server was lost; trying again …", true));
server.addEventListener("bye", ({ detail }) => say(detail.message, true));

// What the panels offer depends on the model.
function build() {
  $("psi-row").hidden = !model.truncatable;
  $("label-row").hidden = !model.classes;
  for (let i = -1; i < model.classes; i++) $("label").append(new Option(i < 0 ? "the seed's" : i, i < 0 ? "" : i));
  $("linked-row").hidden = !model.heatmaps;
  for (const name of ["region", "part"]) document.querySelector(`button[data-tool="${name}"]`).hidden = !model.maps;
  $("regions").hidden = !model.maps;
  $("realism").hidden = !model.realism;
  $("mix").hidden = model.num_ws < 2;
  $("tab-photo").hidden = !model.photos;
  for (const id of ["mix-first", "mix-last", "layers-first", "layers-last"]) $(id).max = model.num_ws;
  $("mix-last").value = Math.min(4, model.num_ws);
  $("layers-last").value = model.num_ws;
  if (model.heatmaps) for (let level = 0; level < 3; level++) $("show").append(new Option(`heat, level ${level + 1}`, `heat:${level}`));
  for (const feature of model.features) {
    for (const evidence of ["fake", "real"]) $("show").append(new Option(`D on ${feature}, ${evidence}`, `attention:${feature}:${evidence}`));
  }
  for (const direction of directions) {
    $("region-move").append(new Option(direction.name, direction.name));
    $("moves").append(slider(direction));
  }
}

function slider({ name, about }) {
  const row = document.createElement("label");
  row.className = "slider";
  row.title = about;
  const [label, input, output] = ["span", "input", "output"].map((kind) => document.createElement(kind));
  label.textContent = name;
  Object.assign(input, { type: "range", min: -limits.strength, max: limits.strength, step: 0.05, value: 0 });
  input.dataset.move = name;
  output.textContent = "0.00";
  const set = (moving) => history.change({ moves: { ...(history.scene.moves || {}), [name]: Number(input.value) }, layers: layers() }, { moving });
  input.addEventListener("input", () => set(true));
  input.addEventListener("change", () => set(false));
  input.addEventListener("dblclick", () => { input.value = 0; set(false); });
  row.append(label, input, output);
  return row;
}

function layers() {
  const [first, last] = [Number($("layers-first").value), Number($("layers-last").value)];
  return first === 0 && last === model.num_ws ? null : [first, last];
}

// Frames: while something moves only the newest counts; at rest the whole picture, its thumbnail and its overlay.

let frames = 0;
let flying = 0; // frames that are asked for while something moves: two at most, so that a slow line does not fill up
let waits = false;
async function draw(moving) {
  if (moving && flying >= 2) {
    waits = true;
    return;
  }
  flying += 1;
  await drawNow(moving);
  flying -= 1;
  if (waits && flying < 2) {
    waits = false;
    draw(true);
  }
}

async function drawNow(moving) {
  const scene = structuredClone(history.scene);
  const began = performance.now();
  const mine = ++frames;
  try {
    const part = await server.ask({ type: "frame", scene, moving });
    await stage.show(part);
    if (mine === frames) stage.showPlace(scene.place || part.header.place);
    $("latency").textContent = `${Math.round(performance.now() - began)} ms`;
    if (moving) return;
    remember(scene, url(part.bytes, part.header.media));
    drawOverlay(scene);
  } catch (error) {
    if (!error.replaced) say(error.message, true);
    else if (!moving) remember(scene, null);
  }
}

async function drawOverlay(scene = history.scene) {
  const [kind, a, b] = $("show").value.split(":");
  if (!kind) return stage.showOverlay(null);
  const more = kind === "heat" ? { level: Number(a) } : { feature: a, evidence: b };
  try {
    const { bytes } = await server.ask({ type: "overlay", kind, scene, ...more });
    if (JSON.stringify(scene) === JSON.stringify(history.scene)) await stage.showOverlay(bytes);
  } catch (error) {
    if (!error.replaced) say(error.message, true);
  }
}

function remember(scene, source) {
  const text = JSON.stringify(scene);
  if (source && !thumbnails.has(text)) thumbnails.set(text, source);
  else if (source) URL.revokeObjectURL(source);
  const kept = new Set(history.past.map((s) => JSON.stringify(s)));
  for (const [key, old] of thumbnails) {
    if (!kept.has(key) && !walk.uses(key)) {
      URL.revokeObjectURL(old);
      thumbnails.delete(key);
    }
  }
  const strip = $("history");
  strip.replaceChildren(...history.past.map((past, at) => {
    const button = document.createElement("button");
    const image = document.createElement("img");
    if (thumbnails.has(JSON.stringify(past))) image.src = thumbnails.get(JSON.stringify(past));
    image.alt = "";
    button.append(image);
    button.setAttribute("aria-label", `Step ${at + 1} of ${history.past.length}`);
    button.setAttribute("aria-current", at === history.at);
    button.addEventListener("click", () => history.go(at));
    return button;
  }));
  strip.scrollLeft = strip.children[history.at] ? strip.children[history.at].offsetLeft - strip.clientWidth / 2 : 0;
  clearTimeout(filling);
  filling = setTimeout(fill, 500);
}

// Pictures of steps that were passed over too quickly to be painted.
let filling = 0;
async function fill() {
  const scenes = history.past.filter((scene) => !thumbnails.has(JSON.stringify(scene))).slice(-limits.thumbs);
  if (!scenes.length) return;
  try {
    const parts = await thumbs(scenes);
    parts.forEach(({ header, bytes }) => thumbnails.set(JSON.stringify(scenes[header.number]), url(bytes, header.media)));
    remember(history.scene, null);
  } catch { /* the next step tries again */ }
}

// Thumbnails of scenes, one request after the other: a newer one must not take an older one's place.
let thumbing = Promise.resolve();
function thumbs(scenes) {
  const asked = thumbing.then(async () => {
    const found = await server.ask({ type: "thumbs", scenes }, { count: scenes.length });
    return Array.isArray(found) ? found : [found];
  });
  thumbing = asked.catch(() => {});
  return asked;
}

function thumbnail(scene) {
  return thumbnails.get(JSON.stringify(scene)) || "";
}

let moved = false; // by a gesture that goes on: the ghost is what was there before it
history.addEventListener("change", ({ detail }) => {
  if (!moved) stage.keepBefore();
  if ($("status").classList.contains("error")) say(""); // of what was done before
  if (detail.moving && !moved) stage.showOverlay(null); // of the picture before
  moved = detail.moving;
  reflect();
  draw(detail.moving);
  if (!detail.moving) {
    stage.showPaint().catch(() => {});
    walk.refresh();
    keep();
    walk.stop();
    clearTimeout(looking);
    $("neighbours").setAttribute("aria-busy", "true");
    looking = setTimeout(neighbours, 600);
  }
});
let looking = 0;

// The panels show what the scene says.
function reflect() {
  const scene = history.scene;
  $("undo").disabled = !history.at && !history.pending;
  $("redo").disabled = history.at === history.past.length - 1;
  set("seed", scene.seed || 0);
  set("psi", scene.psi ?? 1);
  set("label", scene.label ?? "");
  $("noise").checked = scene.noise ?? true;
  set("mix-seed", scene.mix ? scene.mix.seed : "");
  if (scene.mix) { set("mix-first", scene.mix.first); set("mix-last", scene.mix.last); }
  for (const input of document.querySelectorAll("[data-move]")) set(input, (scene.moves || {})[input.dataset.move] || 0);
  $("realism-row").hidden = $("realism-none").hidden = !scene.realism;
  if (scene.realism) set("realism-share", scene.realism.share);
  if (model) {
    const [first, last] = scene.layers || [0, model.num_ws];
    if (Object.keys(scene.moves || {}).length) { set("layers-first", first); set("layers-last", last); }
  }
  if ((scene.parts || []).length) {
    const { moved = false, blend = 1 } = scene.parts.at(-1);
    $("part-moved").value = moved ? "1" : "";
    set("part-blend", blend);
  }
  $("region-list").replaceChildren(...listed(scene));
}

function set(target, value) {
  const input = typeof target === "string" ? $(target) : target;
  if (document.activeElement !== input || input.type === "range") input.value = value;
  const output = input.parentElement.querySelector("output");
  if (output) output.textContent = Number(value).toFixed(2);
}

function listed(scene) {
  const names = [
    ...(scene.regions || []).map((region, i) => ["regions", i, `region ${i + 1}: ${region.seed !== undefined && region.seed !== null ? `seed ${region.seed}` : ""} ${Object.entries(region.moves || {}).map(([k, v]) => `${k} ${v}`).join(", ")}`]),
    ...(scene.parts || []).map((part, i) => ["parts", i, `part ${i + 1}: ${part.moved ? "moved" : "copied"}${(part.blend ?? 1) < 1 ? `, ${Math.round(100 * part.blend)} %` : ""}`]),
  ];
  return names.map(([field, i, text]) => {
    const item = document.createElement("li");
    const remove = document.createElement("button");
    remove.textContent = "Remove";
    remove.addEventListener("click", () => history.change({ [field]: scene[field].filter((_, k) => k !== i) }));
    item.append(`${text} `, remove);
    return item;
  });
}

// Sample

// A new seed is a new picture: what belonged to the old one goes.
const fresh = { ws: null, extras: null, realism: null, place: null, regions: null, parts: null };
function seed(value) {
  history.change({ ...fresh, seed: Math.max(0, Math.min(4294967295, Math.round(value) || 0)) });
}
$("seed").addEventListener("change", () => seed(Number($("seed").value)));
$("random").addEventListener("click", () => seed(Math.random() * 1e6));
$("psi").addEventListener("input", () => history.change({ psi: Number($("psi").value) }, { moving: true }));
$("psi").addEventListener("change", () => history.change({ psi: Number($("psi").value) }));
$("label").addEventListener("change", () => history.change({ label: $("label").value === "" ? null : Number($("label").value), realism: null }));
$("noise").addEventListener("change", () => history.change({ noise: $("noise").checked ? null : false }));
for (const id of ["mix-seed", "mix-first", "mix-last"]) {
  $(id).addEventListener("change", () => {
    const [first, last] = [Number($("mix-first").value), Number($("mix-last").value)];
    if ($("mix-seed").value === "") return history.change({ mix: null });
    if (first >= last) return say("rows of the mix: the first must be below the last", true);
    history.change({ mix: { seed: Number($("mix-seed").value), first, last } });
  });
}
$("mix-none").addEventListener("click", () => history.change({ mix: null }));
$("distance").addEventListener("input", () => { set("distance", $("distance").value); });
$("distance").addEventListener("change", neighbours);
$("again").addEventListener("click", neighbours);

async function neighbours() {
  if (!model || $("sample").hidden) return;
  const names = directions.filter((d) => d.name.startsWith("pca:")).map((d) => d.name);
  const used = names.length ? names : directions.map((d) => d.name);
  const distance = Number($("distance").value) / Math.sqrt(Math.max(used.length, 1) / 2);
  const scenes = Array.from({ length: 8 }, () => {
    if (!used.length) return { ...history.scene, ...fresh, seed: Math.floor(Math.random() * 1e6) };
    const moves = { ...(history.scene.moves || {}) };
    for (const name of used) {
      const step = distance * Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
      moves[name] = Math.max(-10, Math.min(10, Number(((moves[name] || 0) + step).toFixed(2))));
    }
    return { ...history.scene, moves };
  });
  try {
    const parts = await thumbs(scenes);
    $("neighbours").removeAttribute("aria-busy");
    $("neighbours").replaceChildren(...parts.map(({ header, bytes }, i) => choice(bytes, header.media, `Neighbour ${i + 1}`, () => {
      history.replace(scenes[header.number]);
    })));
  } catch (error) {
    say(error.message, true);
  }
}

// Sliders

for (const id of ["layers-first", "layers-last"]) {
  $(id).addEventListener("change", () => {
    if (Number($("layers-first").value) >= Number($("layers-last").value)) return say("rows: the first must be below the last", true);
    history.change({ layers: layers() });
  });
}
$("moves-none").addEventListener("click", () => history.change({ moves: {} }));
$("realism-find").addEventListener("click", async () => {
  const asked = structuredClone(history.scene);
  const done = await work.run({ type: "job", kind: "realism", scenes: [asked] });
  if (done) history.replace({ ...asked, realism: done.realism }); // of that picture, whatever is shown by now
});
$("realism-none").addEventListener("click", () => history.change({ realism: null }));
for (const [kind, moving] of [["input", true], ["change", false]]) {
  $("realism-share").addEventListener(kind, () => history.change({ realism: { ...history.scene.realism, share: Number($("realism-share").value) } }, { moving }));
}

// Photo, paint: see work.js. Regions:

$("region-add").addEventListener("click", () => {
  const mask = stage.marked(model.grid);
  if (!mask) return say("mark a place first, with the Region tool", true);
  const region = { mask };
  if ($("region-seed").value !== "") region.seed = Number($("region-seed").value);
  if ($("region-move").value) region.moves = { [$("region-move").value]: Number($("region-strength").value) };
  if (region.seed === undefined && !region.moves) return say("choose a seed or a move for the region", true);
  const regions = [...(history.scene.regions || []), region];
  if (regions.length > limits.regions) return say(`${limits.regions} regions at most; remove some`, true);
  stage.clearMarks();
  history.change({ regions });
});
function partOptions() {
  return { ...($("part-moved").value ? { moved: true } : {}), ...($("part-blend").value < 1 ? { blend: Number($("part-blend").value) } : {}) };
}
for (const [id, kind, moving] of [["part-moved", "change", false], ["part-blend", "input", true], ["part-blend", "change", false]]) {
  $(id).addEventListener(kind, () => {
    set("part-blend", $("part-blend").value);
    const parts = history.scene.parts || [];
    if (!parts.length) return;
    const { box, to } = parts.at(-1);
    history.change({ parts: [...parts.slice(0, -1), { box, to, ...partOptions() }] }, { moving });
  });
}
$("region-none").addEventListener("click", () => { stage.clearMarks(); history.change({ regions: null, parts: null }); });
$("size").addEventListener("input", () => { $("size").parentElement.querySelector("output").textContent = $("size").value; });
$("stage").addEventListener("refused", ({ detail }) => say(detail, true));

// Tools, tabs, overlays

function choose(name) {
  const button = document.querySelector(`button[data-tool="${name}"]`);
  if (!button || button.hidden) return;
  tool = name;
  $("stage").dataset.tool = name;
  for (const other of tools) {
    other.setAttribute("aria-checked", other === button);
    other.tabIndex = other === button ? 0 : -1;
  }
  stage.showPlace(stage.place);
  if (name === "brush" || name === "region") tab("paint");
}

// Buttons of which one is chosen: a click chooses, arrows go to the next one that is shown.
function oneOf(buttons, take) {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  for (const [i, button] of buttons.entries()) {
    button.tabIndex = i ? -1 : 0;
    button.addEventListener("click", () => take(button));
    button.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const shown = buttons.filter((one) => !one.hidden);
      const next = shown[(shown.indexOf(button) + step + shown.length) % shown.length];
      take(next);
      next.focus();
    });
  }
  return buttons;
}
const tools = oneOf([...document.querySelectorAll("button[data-tool]")], (button) => choose(button.dataset.tool));

function tab(name) {
  for (const button of document.querySelectorAll("[role=tab]")) {
    const chosen = button.getAttribute("aria-controls") === name;
    button.setAttribute("aria-selected", chosen);
    button.tabIndex = chosen ? 0 : -1;
    $(button.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (name === "sample" && !$("neighbours").childElementCount) neighbours();
}
oneOf([...document.querySelectorAll("[role=tab]")], (button) => tab(button.getAttribute("aria-controls")));
$("show").addEventListener("change", () => drawOverlay());
$("before").addEventListener("change", () => { $("ghost").style.visibility = $("before").checked ? "visible" : "hidden"; });
$("ghost").style.visibility = "hidden";

// Ways out and back

$("undo").addEventListener("click", () => history.undo());
$("redo").addEventListener("click", () => history.redo());
$("share").addEventListener("click", async () => {
  const link = toLink(history.scene);
  if (!link) return say("this scene is too long for a link (it holds a photograph's latent or regions); use Save", true);
  window.history.replaceState(null, "", link);
  keep();
  try {
    await navigator.clipboard.writeText(link);
    say("the link is copied");
  } catch {
    say("the link is in the address line");
  }
});
$("save").addEventListener("click", () => {
  const file = new Blob([JSON.stringify(atHand())], { type: "application/json" });
  download(URL.createObjectURL(file), "work.json");
});
$("open-file").addEventListener("click", () => $("open").click());
$("open").addEventListener("change", async () => {
  const file = $("open").files[0];
  $("open").value = "";
  if (!file) return;
  try {
    if (file.size > 3e7) throw new Error("it is too large");
    const found = JSON.parse(await file.text());
    await open(found && found.scene ? found : { scene: found });
  } catch (error) {
    say(`${file.name} cannot be opened: ${error.message}`, true);
  }
});
window.addEventListener("hashchange", () => {
  const scene = fromLink(location.hash);
  if (scene) open({ scene }).catch((error) => say(error.message, true));
  else if (damaged()) say("the link is damaged: it holds no picture", true);
});

function damaged() {
  return location.hash.startsWith("#scene=") && !fromLink(location.hash);
}

// All that would be missed: the scene, the keys of the walk, what is painted.
function atHand() {
  return { v: 1, scene: history.scene, keys: walk.keys, paint: history.paint };
}

// Shows work from elsewhere, once the server has taken its scenes for such.
async function open({ scene, keys, paint }) {
  await server.ask({ type: "frame", scene });
  if (Array.isArray(keys) && keys.length) {
    for (let first = 0; first < Math.min(keys.length, limits.keys); first += limits.thumbs) {
      const some = keys.slice(first, Math.min(first + limits.thumbs, limits.keys));
      for (const { header, bytes } of await thumbs(some)) thumbnails.set(JSON.stringify(some[header.number]), url(bytes, header.media));
    }
    history.keys = Object.freeze(keys.slice(0, limits.keys));
  }
  const drawn = paint && ["drawing", "marks"].every((name) => /^data:image\/png;base64,[\w+/=]+$/.test(paint[name]));
  history.paint = drawn ? Object.freeze({ drawing: paint.drawing, marks: paint.marks }) : null;
  history.replace(scene);
}

// A reload, or a browser that throws a hidden tab away, finds the work again; another tab begins anew.
function keep() {
  try {
    sessionStorage.setItem("work", JSON.stringify({ name: $("name").textContent, hash: location.hash, ...atHand() }));
  } catch { /* full, or forbidden: then it is not kept */ }
}

function kept(name) {
  try {
    const found = JSON.parse(sessionStorage.getItem("work"));
    return found && found.name === name ? found : null;
  } catch {
    return null;
  }
}
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", document.documentElement.dataset.theme);
  } catch { /* forbidden: it is not remembered */ }
});
try {
  if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
} catch { /* forbidden */ }

// Numbers are whole and within their limits before anybody reads them.
document.addEventListener("change", ({ target }) => {
  if (target.type !== "number" || target.value === "") return;
  const within = Math.max(Number(target.min || -Infinity), Math.min(Number(target.max || Infinity), Number(target.value)));
  target.value = target.step === "1" ? Math.round(within) : within;
}, { capture: true });
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault()); // a file beside the box
$("keys-help").addEventListener("click", () => $("help").showModal());

document.addEventListener("keydown", (event) => {
  const on = event.target instanceof Element ? event.target : document.body;
  if ($("help").open || on.matches("input:not([type=range], [type=checkbox], [type=color]), textarea")) return;
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "z") {
    event.preventDefault();
    return event.shiftKey ? history.redo() : history.undo();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || on.matches("select")) return; // where letters choose
  if ((key.startsWith("arrow") || key === " ") && on.matches("input, button, [role=slider]")) return;
  const actions = {
    r: () => seed(Math.random() * 1e6), arrowleft: () => seed((history.scene.seed || 0) - 1), arrowright: () => seed((history.scene.seed || 0) + 1),
    n: neighbours, g: () => choose("grab"), b: () => choose("brush"), e: () => choose("erase"), m: () => choose("region"), c: () => choose("part"),
    k: () => walk.add(), h: () => $("before").click(), "?": () => $("help").showModal(),
    " ": () => { event.preventDefault(); walk.play(); },
  };
  if (actions[key] && !event.repeat) actions[key](); // a key that is held is one step
});

reflect();
server.addEventListener("hello", () => { looking = setTimeout(neighbours, 100); }, { once: true });
