// One playback of a recording: begun, watched, paused, moved about in, ended.

import { Problem } from "./api.js";
import { sayIn } from "./i18n.js";
import { Viewer } from "./whep.js";

/** What cameras take; the standard asks for 1/4 to 4, backwards is the vendor's. */
export const SPEEDS = [-4, -2, -1, 0.25, 0.5, 1, 2, 4, 8];
const POLL_MS = 1_000;

/** Fires "change" whenever something that is shown changed. */
export class Playback extends EventTarget {
  /** The gateway's word on it: {id, start, end, paused, scale, position, state}; null while nothing plays. */
  report = null;
  problem = null;
  #api;
  #parts;
  #viewer = null;
  #channel = null;
  #timer = 0;
  #read = 0;
  #turn = 0;

  constructor(api, parts) {
    super();
    this.#api = api;
    this.#parts = parts;
  }

  get state() {
    if (this.problem) return "failed";
    return this.#viewer?.state ?? (this.#channel ? "connecting" : "idle");
  }

  /** The moment of the picture that is shown, in ms since 1970; null where none is known. */
  get at() {
    if (this.report === null || this.report.position === null) return null;
    const { start, position, paused, scale } = this.report;
    const since = paused || this.state !== "playing" ? 0 : ((performance.now() - this.#read) / 1000) * scale;
    return Date.parse(start) + (position + Math.min(since, 2 * Math.abs(scale))) * 1000;
  }

  /** Whether a moment can be reached by a seek in what plays. */
  covers(channel, at) {
    if (this.report === null || this.#channel?.device !== channel.device || this.#channel.id !== channel.id) return false;
    return at >= Date.parse(this.report.start) && at < Date.parse(this.report.end);
  }

  async start(channel, { start, end, speed }) {
    this.stop();
    const turn = this.#turn;
    this.#channel = channel;
    this.#changed();
    try {
      const report = await this.#api.send("POST", "/api/v1/playbacks", { device: channel.device, channel: channel.id, start, end });
      if (turn !== this.#turn) return this.#end(report.id, false);
      this.#take(report);
      this.#watch(report.whep);
      if (speed !== 1) await this.speed(speed);
    } catch (problem) {
      if (turn === this.#turn) this.#fail(problem);
    }
    return undefined;
  }

  stop({ leaving = false } = {}) {
    this.#turn += 1;
    clearInterval(this.#timer);
    this.#viewer?.close({ leaving });
    this.#viewer = null;
    this.#parts.video.srcObject = null;
    if (this.report) this.#end(this.report.id, leaving);
    this.report = null;
    this.problem = null;
    this.#channel = null;
    this.#changed();
  }

  toggle() {
    return this.#ask(this.report.paused ? "resume" : "pause");
  }

  speed(speed) {
    return this.report ? this.#ask("speed", { speed }) : undefined;
  }

  seek(at) {
    return this.#ask("seek", { seconds: Math.max(0, (at - Date.parse(this.report.start)) / 1000) });
  }

  async #ask(what, body) {
    const turn = this.#turn;
    try {
      const report = await this.#api.send("POST", `/api/v1/playbacks/${this.report.id}/${what}`, body);
      if (turn === this.#turn) this.#take(report);
    } catch (problem) {
      // What plays goes on; that the camera refused is said beside it.
      if (turn === this.#turn) this.#say(problem);
    }
  }

  #say(problem) {
    sayIn(this.#parts.said, "playback.refused", { detail: problem.message });
    this.#parts.said.hidden = false;
    setTimeout(() => (this.#parts.said.hidden = true), 6_000);
  }

  #take(report) {
    this.report = report;
    this.#read = performance.now();
    this.#changed();
  }

  #watch(url) {
    const viewer = new Viewer(this.#api, url);
    const { video } = this.#parts;
    this.#viewer = viewer;
    const mine = () => viewer === this.#viewer;
    viewer.addEventListener("state", () => {
      if (!mine()) return;
      if (viewer.state === "failed") this.#fail(viewer.problem);
      else this.#changed();
    });
    viewer.addEventListener("stream", () => {
      if (!mine()) return;
      video.srcObject = viewer.stream;
      video.play().catch(() => {});
      video.requestVideoFrameCallback?.(() => viewer.pictured());
    });
    viewer.addEventListener("stats", () => viewer.stats.decoded > 0 && viewer.pictured());
    viewer.open();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#poll(), POLL_MS);
  }

  async #poll() {
    const turn = this.#turn;
    if (this.report === null) return;
    try {
      const report = await this.#api.get(`/api/v1/playbacks/${this.report.id}`);
      if (turn === this.#turn) this.#take(report);
    } catch (problem) {
      // It played to its end, or somebody stopped it.
      if (turn === this.#turn && problem.status === 404) this.#over();
    }
  }

  #over() {
    this.report = null;
    this.stop();
  }

  #fail(problem) {
    if (["end_of_file", "not_found"].includes(problem.code) && this.report) return this.#over();
    this.stop();
    this.problem = problem instanceof Problem ? problem : new Problem("other", { detail: problem.message });
    this.#changed();
    return undefined;
  }

  #end(id, keepalive) {
    this.#api.request("DELETE", `/api/v1/playbacks/${id}`, { keepalive }).catch(() => {});
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
