// The pad on a picture: the camera moves as long as a button is held.

import { channelPath } from "./api.js";
import { h, icon, write } from "./dom.js";
import { nameBy, say, sayIn } from "./i18n.js";
import { inOneLine } from "./problems.js";

/** A motion ends by itself after this, should the page go away while a button is held. */
const HOLD_S = 5;
/** While a button is held the motion is asked for again this often. */
const AGAIN_MS = 4_000;
/** How long a failure is shown. */
const SHOWN_MS = 8_000;

/** In reading order: what the cell moves, in parts of full speed (right and up are positive). */
const DIRECTIONS = [
  ["ptz.upLeft", -1, 1, -45], ["ptz.up", 0, 1, 0], ["ptz.upRight", 1, 1, 45],
  ["ptz.left", -1, 0, -90], null, ["ptz.right", 1, 0, 90],
  ["ptz.downLeft", -1, -1, -135], ["ptz.down", 0, -1, 180], ["ptz.downRight", 1, -1, 135],
];
/** Pairs of buttons: name, path, body for the first and the second one. */
const LEVERS = [
  ["ptz.zoom", "ptz", (part) => ({ zoom: part })],
  ["ptz.focus", "focus", (part) => ({ speed: part })],
  ["ptz.iris", "iris", (part) => ({ speed: part })],
];

export class PtzPad {
  #api;
  #path;
  #queue = Promise.resolve();
  #speed = h("input", { type: "range", min: "0.1", max: "1", step: "0.1", value: "0.5", data: { testid: "ptz-speed" } });
  #presets = h("select", { data: { testid: "ptz-presets" } });
  #message = h("p", { class: "pad-message bad", hidden: true, attrs: { role: "alert" } });
  #timer = 0;
  #known = [];

  constructor(api, channel) {
    this.#api = api;
    this.#path = channelPath(channel);
    const cells = DIRECTIONS.map((cell) => {
      if (!cell) return this.#act("stop", "ptz.stop", () => this.#send("ptz", { stop: true }));
      const [key, pan, tilt, turn] = cell;
      const button = this.#held("arrow", key, "ptz", () => ({ pan: pan * this.speed, tilt: tilt * this.speed }));
      button.firstChild.style.transform = `rotate(${turn}deg)`;
      return button;
    });
    const levers = LEVERS.flatMap(([key, path, body]) => [
      this.#held("minus", `${key}.out`, path, () => body(-this.speed)),
      sayIn(h("span", {}), key),
      this.#held("plus", `${key}.in`, path, () => body(this.speed)),
    ]);
    nameBy(this.#speed, "ptz.speed");
    nameBy(this.#presets, "ptz.presets");
    this.element = h("div", {
      class: "pad", data: { testid: "ptz" },
      on: { click: (event) => event.stopPropagation(), dblclick: (event) => event.stopPropagation() },
    },
    h("div", { class: "pad-cross" }, ...cells),
    h("label", { class: "pad-speed" }, sayIn(h("span", {}), "ptz.speed"), this.#speed),
    h("div", { class: "pad-levers" }, ...levers),
    h("div", { class: "pad-presets" }, this.#presets,
      this.#act("play", "ptz.go", () => this.#preset("call")),
      this.#act("plus", "ptz.set", () => this.#keep()),
      this.#act("close", "ptz.delete", () => this.#forget())),
    this.#message);
    this.#list();
    this.#read();
  }

  dispose() {
    clearTimeout(this.#timer);
    this.element.remove();
  }

  get speed() {
    return Number(this.#speed.value);
  }

  #act(name, key, action) {
    return nameBy(h("button", { class: "tool", type: "button", data: { testid: key.replace(".", "-") }, on: { click: action } }, icon(name)), key);
  }

  /** A button that moves while it is held, by pointer or by key. */
  #held(name, key, path, body) {
    const button = this.#act(name, key, () => {});
    let timer = 0;
    const move = () => this.#send(path, { ...body(), seconds: HOLD_S });
    const begin = (event) => {
      if (timer || event.button > 0 || event.repeat) return;
      event.preventDefault();
      if (event.pointerId !== undefined) button.setPointerCapture(event.pointerId);
      timer = setInterval(move, AGAIN_MS);
      move();
    };
    const end = () => {
      if (!timer) return;
      clearInterval(timer);
      timer = 0;
      this.#send(path, { stop: true });
    };
    const press = (event) => [" ", "Enter"].includes(event.key);
    button.addEventListener("pointerdown", begin);
    for (const event of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(event, end);
    button.addEventListener("keydown", (event) => press(event) && begin(event));
    button.addEventListener("keyup", (event) => press(event) && end());
    return button;
  }

  /** One at a time and in order, so that a stop never overtakes its motion. */
  #send(path, body) {
    this.#queue = this.#queue.then(async () => {
      try {
        await this.#api.send("POST", `${this.#path}/${path}`, body);
        this.#tell(null);
        return true;
      } catch (problem) {
        this.#tell(problem);
        return false;
      }
    });
    return this.#queue;
  }

  #tell(problem) {
    clearTimeout(this.#timer);
    this.#message.hidden = problem === null;
    if (problem === null) return;
    write(this.#message, inOneLine(problem));
    this.#timer = setTimeout(() => (this.#message.hidden = true), SHOWN_MS);
  }

  /** Not all cameras tell their presets; then the numbers alone are offered. */
  async #read() {
    try {
      const { items } = await this.#api.get(`${this.#path}/preset`);
      this.#known = items;
    } catch {
      this.#known = [];
    }
    this.#list();
  }

  #list() {
    const chosen = this.#presets.value;
    const names = new Map(this.#known.map(({ index, name }) => [Number(index), name]));
    const numbers = new Set([...names.keys(), 1, 2, 3, 4, 5, 6, 7, 8]);
    const options = [...numbers].sort((a, b) => a - b).map((index) => {
      const name = names.has(index) ? `${index} · ${names.get(index) || say("ptz.preset")}` : `${index} –`;
      return h("option", { value: String(index) }, name);
    });
    this.#presets.replaceChildren(...options);
    if (chosen) this.#presets.value = chosen;
  }

  #preset(action, more = {}) {
    return this.#send("preset", { action, index: Number(this.#presets.value), ...more });
  }

  async #keep() {
    const name = prompt(say("ptz.set.name"), "");
    if (name === null) return;
    if (await this.#preset("set", name.trim() ? { name: name.trim() } : {})) await this.#read();
  }

  async #forget() {
    if (!confirm(say("ptz.delete.sure", { index: this.#presets.value }))) return;
    if (await this.#preset("delete")) await this.#read();
  }
}
