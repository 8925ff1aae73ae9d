// One picture of the wall: the video, what is known about it, and what to do with it.

import { h, icon, write } from "./dom.js";
import { bitRate, codec, fileName, number, percent } from "./format.js";
import { nameBy, say, sayIn } from "./i18n.js";
import { explain, inOneLine } from "./problems.js";
import { PtzPad } from "./ptz.js";
import { Talk } from "./talk.js";
import { Viewer } from "./whep.js";

/** The streams that a camera may have, the best one first. */
const STREAMS = ["main", "sub", "third"];
/** How long it is said that nobody can be talked to. */
const SAID_MS = 8_000;

/**
 * Fires "change" when it plays something else or nothing, "choose" when the person takes it.
 * For tests: `element.viewer` is the Viewer, and the element's data tell state, device, channel and the
 * milliseconds from the click to the first picture.
 */
export class Tile extends EventTarget {
  channel = null;
  #api;
  #facts;
  #number;
  #viewer = null;
  #pad = null;
  #talk = null;
  #started = 0;
  #parts = {};
  stream = STREAMS[0];

  constructor(api, facts, number) {
    super();
    this.#api = api;
    this.#facts = facts;
    this.#number = number;
    this.#build();
    this.show();
  }

  #build() {
    const button = (name, key, testId, action) =>
      nameBy(h("button", {
        class: "tool", type: "button", data: { testid: testId },
        on: { click: (event) => { event.stopPropagation(); action(); } },
      }, icon(name)), key);
    const p = this.#parts;
    p.video = h("video", { autoplay: true, muted: true, playsInline: true, disablePictureInPicture: true, data: { testid: "tile-video" } });
    p.video.setAttribute("tabindex", "-1");
    p.name = h("span", { class: "tile-name" });
    p.sound = button("muted", "tile.unmute", "tile-mute", () => this.toggleSound());
    p.snapshot = button("snapshot", "tile.snapshot", "tile-snapshot", () => this.snapshot());
    p.full = button("fullscreen", "tile.fullscreen", "tile-fullscreen", () => this.toggleFullscreen());
    p.close = button("close", "tile.close", "tile-close", () => {
      this.stop();
      this.choose();
    });
    p.move = button("move", "tile.ptz", "tile-ptz", () => this.togglePad());
    p.talk = button("microphone", "tile.talk", "tile-talk", () => this.toggleTalk());
    p.recordings = nameBy(h("a", { class: "tool", data: { testid: "tile-recordings" }, on: { click: (event) => event.stopPropagation() } }, icon("recordings")), "tile.recordings");
    p.stream = nameBy(h("select", {
      class: "tile-stream", data: { testid: "tile-stream" },
      on: { click: (event) => event.stopPropagation(), change: () => this.#choose(p.stream.value) },
    }, ...STREAMS.map((name) => sayIn(h("option", { value: name }), `tile.stream.${name}`))), "tile.stream");
    p.said = h("p", { class: "tile-said", hidden: true, attrs: { role: "status" } });
    p.figures = h("div", { class: "tile-figures", data: { testid: "tile-figures" } });
    p.waitText = h("span", {});
    p.waitWhy = h("span", { class: "dim" });
    p.wait = h("div", { class: "tile-wait", attrs: { role: "status" } }, h("span", { class: "spinner" }), p.waitText, p.waitWhy);
    p.title = h("strong", {});
    p.code = h("code", {});
    p.step = h("span", { class: "tile-step" });
    p.hint = h("span", { class: "tile-hint" });
    p.detail = h("span", { class: "tile-detail" });
    p.retry = h("button", { class: "button", type: "button", data: { testid: "tile-retry" }, on: { click: () => this.retry() } },
      icon("retry"), sayIn(h("span", {}), "tile.retry"));
    p.error = h("div", { class: "tile-error", attrs: { role: "alert" }, data: { testid: "tile-error" } },
      icon("warning"), p.title, p.step, p.hint, p.detail, h("span", { class: "tile-actions" }, p.retry, p.code));
    p.idle = h("div", { class: "tile-idle" }, h("span", { class: "tile-number" }, String(this.#number)), (p.idleText = h("span", {})));
    this.element = h("section", {
      class: "tile", tabIndex: 0, data: { testid: "tile", number: String(this.#number) },
      on: {
        click: () => this.choose(),
        focus: () => this.choose(),
        dblclick: (event) => this.channel && !event.target.closest("button") && this.toggleFullscreen(),
        keydown: (event) => this.#key(event),
        dragover: (event) => event.preventDefault(),
        drop: (event) => this.#drop(event),
      },
    }, p.video, p.idle, p.wait, p.error,
    h("header", { class: "tile-bar" }, p.name, p.stream, h("span", { class: "tile-tools" }, p.move, p.talk, p.sound, p.snapshot, p.recordings, p.full, p.close)), p.said, p.figures);
  }

  get state() {
    return this.#viewer?.state ?? "idle";
  }

  get waitsForDevice() {
    return this.state === "failed" && this.#viewer.problem.code === "device_offline";
  }

  choose() {
    this.dispatchEvent(new Event("choose"));
  }

  mark(selected) {
    this.element.dataset.selected = selected;
    sayIn(this.#parts.idleText, selected ? "tile.selected" : "tile.idle");
  }

  /** Plays a channel {device, id, name}; `started` is when the person asked, on performance.now()'s clock. */
  play(channel, started = performance.now()) {
    this.#end();
    const same = this.channel && this.channel.device === channel.device && this.channel.id === channel.id;
    if (!same) {
      this.#hidePad();
      this.#talk?.stop();
      this.#talk = null;
    }
    const [device, id] = [channel.device, channel.id].map(encodeURIComponent);
    this.channel = channel;
    this.#started = started;
    this.stream = channel.stream ?? STREAMS[0];
    this.#parts.stream.value = this.stream;
    this.#parts.recordings.href = `#recordings/${device}/${id}`;
    const url = `/whep/${device}/${id}?stream=${this.stream}`;
    const viewer = new Viewer(this.#api, url);
    this.#viewer = viewer;
    this.element.viewer = viewer;
    viewer.addEventListener("state", () => viewer === this.#viewer && this.show());
    viewer.addEventListener("stream", () => viewer === this.#viewer && this.#attach(viewer));
    viewer.addEventListener("stats", () => viewer === this.#viewer && this.#figures(viewer));
    Object.assign(this.element.dataset, { device: channel.device, channel: channel.id });
    viewer.open();
    this.dispatchEvent(new Event("change"));
  }

  retry(started = performance.now()) {
    if (this.channel) this.play(this.channel, started);
  }

  #choose(stream) {
    this.play({ ...this.channel, stream });
  }

  togglePad() {
    if (this.#pad) this.#hidePad();
    else if (this.channel) {
      this.#pad = new PtzPad(this.#api, this.channel);
      this.element.append(this.#pad.element);
    }
    this.#parts.move.setAttribute("aria-pressed", String(this.#pad !== null));
  }

  #hidePad() {
    this.#pad?.dispose();
    this.#pad = null;
    this.#parts.move.setAttribute("aria-pressed", "false");
  }

  toggleTalk() {
    if (!this.channel) return;
    if (!this.#talk) {
      const talk = new Talk(this.#api, this.channel);
      this.#talk = talk;
      talk.addEventListener("state", () => talk === this.#talk && this.#talking());
    }
    this.#talk.toggle();
  }

  #talking() {
    const { talk, said } = this.#parts;
    const { state, problem } = this.#talk;
    talk.dataset.state = state;
    talk.setAttribute("aria-pressed", String(state === "on"));
    said.hidden = state === "off";
    said.classList.toggle("bad", state === "failed");
    if (state === "failed") {
      delete said.dataset.say;
      write(said, inOneLine(problem));
      setTimeout(() => this.#talk?.problem === problem && (said.hidden = true), SAID_MS);
    } else if (state !== "off") sayIn(said, `talk.${state}`);
  }

  stop() {
    this.#end();
    this.#hidePad();
    this.#talk?.stop();
    this.#talk = null;
    this.channel = null;
    for (const name of ["device", "channel"]) delete this.element.dataset[name];
    this.show();
    this.dispatchEvent(new Event("change"));
  }

  /** The picture ended for a known reason: no use in asking for it again by itself. */
  fail(problem) {
    this.#viewer?.fail(problem);
  }

  /** The page goes away. */
  leave() {
    this.#viewer?.close({ leaving: true });
    this.#talk?.stop({ leaving: true });
  }

  #end() {
    const viewer = this.#viewer;
    this.#viewer = null;
    this.element.viewer = null;
    viewer?.close();
    const { video } = this.#parts;
    video.srcObject = null;
    video.muted = true;
    delete this.element.dataset.firstPictureMs;
    delete this.element.dataset.sound;
    write(this.#parts.figures, "");
  }

  #attach(viewer) {
    const { video } = this.#parts;
    video.srcObject = viewer.stream;
    video.play().catch(() => {}); // muted pictures may start by themselves everywhere
    const first = !viewer.seen;
    const pictured = (at) => {
      if (viewer !== this.#viewer || video.srcObject !== viewer.stream) return;
      if (first && !viewer.seen && at) {
        this.element.dataset.firstPictureMs = Math.round(Math.max(0, at - this.#started));
      }
      viewer.pictured();
    };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback((now) => pictured(now));
    else video.addEventListener("loadeddata", () => pictured(performance.now()), { once: true });
  }

  /** Brings all words and states up to date. */
  show() {
    const p = this.#parts;
    const viewer = this.#viewer;
    const { state } = this;
    this.element.dataset.state = state;
    const name = this.channel?.name || this.channel?.id;
    this.element.setAttribute("aria-label", name ? say("tile.playing", { number: this.#number, name }) : say("tile", { number: this.#number }));
    write(p.name, name);
    p.name.title = this.channel ? `${this.channel.device} / ${this.channel.id}` : "";
    if (state === "connecting") sayIn(p.waitText, "tile.connecting");
    if (state === "waiting") sayIn(p.waitText, "tile.waiting");
    if (state === "reconnecting") sayIn(p.waitText, "tile.reconnecting", { attempt: number(viewer.attempt) });
    const problem = viewer?.problem ?? null;
    const words = problem && explain(problem, this.#facts());
    write(p.waitWhy, state === "reconnecting" ? words.title : "");
    if (state === "failed") {
      write(p.title, words.title);
      write(p.code, problem.code);
      write(p.step, words.step);
      write(p.hint, words.hint);
      write(p.detail, words.detail ? say("tile.said", { detail: words.detail }) : "");
      p.error.dataset.code = problem.code;
    } else {
      delete p.error.dataset.code;
      write(p.title, "");
    }
    nameBy(p.sound, p.video.muted ? "tile.unmute" : "tile.mute");
    p.sound.replaceChildren(icon(p.video.muted ? "muted" : "sound"));
    p.sound.setAttribute("aria-pressed", String(!p.video.muted));
    if (viewer?.stats) this.#figures(viewer);
  }

  #figures(viewer) {
    const { stats, stream } = viewer;
    // In a hidden page no frame is painted and none called back; the decoder's count tells as well.
    if (stats.decoded > 0 || (stats.audio && !stream.getVideoTracks().length)) viewer.pictured();
    if (stats.audio) this.element.dataset.sound = "true";
    const ms = this.element.dataset.firstPictureMs;
    const words = [
      codec(stats.codec),
      stats.width ? `${stats.width}×${stats.height}` : null,
      stats.fps === undefined ? null : say("tile.fps", { fps: number(stats.fps) }),
      Number.isFinite(stats.bitRate) ? bitRate(stats.bitRate) : null,
      Number.isFinite(stats.loss) ? say("tile.loss", { loss: percent(stats.loss) }) : null,
      ms ? say("tile.first", { ms: number(Number(ms)) }) : null,
    ].filter((word) => word !== null);
    const { figures } = this.#parts;
    while (figures.childElementCount > words.length) figures.lastElementChild.remove();
    words.forEach((word, index) => {
      if (!figures.children[index]) figures.append(h("span", {}));
      write(figures.children[index], word);
    });
  }

  toggleSound() {
    if (!this.channel) return;
    this.#parts.video.muted = !this.#parts.video.muted;
    this.show();
  }

  toggleFullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.element.requestFullscreen?.().catch(() => {});
  }

  async snapshot() {
    const { video } = this.#parts;
    if (!video.videoWidth) return;
    const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    const at = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
    const name = fileName(`${this.channel.name || this.channel.id}_${at}`);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    if (!blob) return;
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: `${name}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    this.element.classList.add("flash");
    setTimeout(() => this.element.classList.remove("flash"), 200);
  }

  #key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      f: () => this.toggleFullscreen(),
      m: () => this.toggleSound(),
      s: () => this.snapshot(),
      p: () => this.togglePad(),
      Delete: () => this.stop(),
      Backspace: () => this.stop(),
    };
    const action = this.channel && actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #drop(event) {
    event.preventDefault();
    let channel;
    try {
      channel = JSON.parse(event.dataTransfer.getData("application/x-gbgate-channel"));
    } catch {
      return; // something else was dropped
    }
    this.choose();
    this.play(channel, event.timeStamp);
  }
}
