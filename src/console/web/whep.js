// A WHEP viewer: one RTCPeerConnection at a time, replaced after it failed.

import { Problem } from "./api.js";

/** From the answer to a working path, and from there to the first picture. */
const CONNECT_MS = 10_000;
const PICTURE_MS = 12_000;
/** "disconnected" heals by itself when a check gets through again; after this it does not. */
const DISCONNECTED_MS = 4_000;
/** A connected path on which nothing arrives any more. */
const STALLED_MS = 10_000;
/** A picture that ran this long makes the next failure a first one again. */
const STEADY_MS = 15_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;
/** How often a path that never worked is tried again. */
const PATH_RETRIES = 3;
/** What trying again does not change. */
const FINAL = new Set(["not_found", "no_common_codec", "forbidden", "no_webrtc", "bad_answer"]);

const DAY_MS = 86_400_000;

let certificate = null;
/** One key pair for all connections of the page: making one costs time before the first picture. */
export async function prepare() {
  const own = await certificate;
  // A wall may hang for longer than a certificate lasts.
  if (own && own.expires - Date.now() > DAY_MS) return own;
  certificate = globalThis.RTCPeerConnection?.generateCertificate({ name: "ECDSA", namedCurve: "P-256" }).catch(() => null);
  return certificate;
}

/**
 * Watches one channel. Fires
 *   "stream"   when `stream` is to be shown
 *   "state"    when `state` changed: connecting, waiting (connected, no picture yet), playing, reconnecting
 *              (`attempt`), failed (`problem`), closed
 *   "stats"    once a second, with `stats`
 */
export class Viewer extends EventTarget {
  state = "closed";
  attempt = 0;
  problem = null;
  stream = null;
  stats = null;
  /** The connection in use; null between two. */
  peer = null;
  /** There has been a picture. */
  seen = false;
  #api;
  #url;
  #resource = null;
  #abort = new AbortController();
  #timer = 0;
  #ticker = 0;
  #since = 0;

  constructor(api, url) {
    super();
    this.#api = api;
    this.#url = url;
  }

  get closed() {
    return this.#abort.signal.aborted;
  }

  open() {
    this.#become("connecting");
    this.#connect();
  }

  /** The first picture was seen: the page tells, since only its video element knows. */
  pictured() {
    if (!this.peer || this.state === "playing") return;
    clearTimeout(this.#timer);
    this.#since = performance.now();
    this.seen = true;
    this.#become("playing");
  }

  /** Ends it for a reason that trying again does not change. */
  fail(problem) {
    if (this.closed) return;
    this.#abort.abort();
    this.#drop();
    this.#become("failed", problem);
  }

  /** Ends it. With `leaving`, in a way that outlives the page. */
  close({ leaving = false } = {}) {
    if (this.closed) return;
    this.#abort.abort();
    this.#drop({ leaving });
    this.#become("closed");
  }

  #become(state, problem = null) {
    this.state = state;
    this.problem = problem;
    this.dispatchEvent(new Event("state"));
  }

  #drop({ leaving = false } = {}) {
    clearTimeout(this.#timer);
    clearInterval(this.#ticker);
    this.peer?.close();
    this.peer = null;
    if (this.#resource) this.#api.request("DELETE", this.#resource, { keepalive: leaving }).catch(() => {});
    this.#resource = null;
  }

  async #connect() {
    try {
      await this.#negotiate();
    } catch (error) {
      if (this.closed) return;
      this.#lost(error instanceof Problem ? error : new Problem("bad_answer", { detail: error.message }));
    }
  }

  async #negotiate() {
    if (!globalThis.RTCPeerConnection) throw new Problem("no_webrtc");
    const own = await prepare();
    if (this.closed) return;
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", certificates: own ? [own] : undefined });
    this.peer = peer;
    const stream = new MediaStream();
    peer.addEventListener("track", ({ track }) => stream.addTrack(track));
    peer.addEventListener("connectionstatechange", () => peer === this.peer && this.#connection());
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("audio", { direction: "recvonly" });
    await peer.setLocalDescription();
    // The gateway is ICE-lite and answers whoever asks: our own candidates are of no use to it.
    const response = await this.#api.request("POST", this.#url, {
      body: peer.localDescription.sdp,
      type: "application/sdp",
      accept: "application/sdp",
      signal: this.#abort.signal,
    });
    this.#resource = ownResource(response);
    const sdp = await response.text();
    // Closed while the answer was on its way: nobody else would tell the gateway.
    if (this.closed) return this.#drop();
    this.#timer = setTimeout(() => this.#lost(new Problem("ice_failed")), CONNECT_MS);
    await peer.setRemoteDescription({ type: "answer", sdp });
    if (peer !== this.peer) return;
    this.stream = stream;
    this.dispatchEvent(new Event("stream"));
    this.#watch(peer);
  }

  #connection() {
    clearTimeout(this.#timer);
    const state = this.peer.connectionState;
    if (state === "connected") {
      if (this.state !== "playing") {
        this.#become("waiting");
        this.#timer = setTimeout(() => this.#lost(new Problem("no_picture")), PICTURE_MS);
      }
    } else if (state === "disconnected") {
      this.#timer = setTimeout(() => this.#lost(new Problem("ice_failed")), DISCONNECTED_MS);
    } else if (state === "failed" || state === "closed") {
      this.#lost(new Problem("ice_failed"));
    } else {
      this.#timer = setTimeout(() => this.#lost(new Problem("ice_failed")), CONNECT_MS);
    }
  }

  /** The connection is gone or never came; tries again unless that is of no use. */
  #lost(problem) {
    if (this.closed) return;
    if (this.state === "playing" && performance.now() - this.#since > STEADY_MS) this.attempt = 0;
    // A person who clicked wants to know at once why there is no picture. One that was there is asked for
    // until it is back: a wall hangs where nobody clicks.
    const again = this.seen || (problem.code === "ice_failed" && this.attempt < PATH_RETRIES);
    if (!again || FINAL.has(problem.code)) return this.fail(problem);
    this.#drop();
    const pause = Math.min(FIRST_RETRY_MS * 2 ** this.attempt, LAST_RETRY_MS) * (0.75 + Math.random() / 2);
    this.attempt += 1;
    this.#become("reconnecting", problem);
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  #watch(peer) {
    let before = null;
    let moved = performance.now();
    clearInterval(this.#ticker);
    this.#ticker = setInterval(async () => {
      const report = await peer.getStats().catch(() => null);
      if (!report || peer !== this.peer) return;
      const now = read(report);
      const between = compare(before, now);
      if (!before || now.bytes !== before.bytes) moved = performance.now();
      before = now;
      this.stats = { ...now, ...between };
      this.dispatchEvent(new Event("stats"));
      if (this.state === "playing" && performance.now() - moved > STALLED_MS) this.#lost(new Problem("no_rtp"));
    }, 1_000);
  }
}

/** The session's address, if it is the gateway's own: a token goes nowhere else. */
export function ownResource(response) {
  const location = response.headers.get("location");
  if (!location) return null;
  try {
    const url = new URL(location, response.url);
    return url.origin === globalThis.location.origin ? url.pathname + url.search : null;
  } catch {
    return null;
  }
}

/** What the overlay shows, out of a statistics report. */
function read(report) {
  const found = { at: performance.now(), bytes: 0, packets: 0, lost: 0, decoded: 0, audio: false };
  for (const entry of report.values()) {
    if (entry.type !== "inbound-rtp") continue;
    found.bytes += entry.bytesReceived ?? 0;
    if (entry.kind === "audio") {
      found.audio = entry.packetsReceived > 0;
      continue;
    }
    found.packets = entry.packetsReceived ?? 0;
    found.lost = entry.packetsLost ?? 0;
    found.decoded = entry.framesDecoded ?? 0;
    found.width = entry.frameWidth;
    found.height = entry.frameHeight;
    found.fps = entry.framesPerSecond;
    found.codec = report.get(entry.codecId)?.mimeType?.split("/")[1];
  }
  return found;
}

function compare(before, now) {
  if (!before || now.at <= before.at) return { bitRate: NaN, loss: NaN };
  const lost = Math.max(0, now.lost - before.lost);
  const seen = Math.max(0, now.packets - before.packets) + lost;
  return {
    bitRate: ((now.bytes - before.bytes) * 8_000) / (now.at - before.at),
    loss: seen ? lost / seen : 0,
  };
}
