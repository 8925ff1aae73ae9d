// The microphone of this computer to the loudspeaker of a camera: WHIP (RFC 9725) with G.711.

import { Problem } from "./api.js";
import { ownResource } from "./whep.js";

const CONNECT_MS = 10_000;

/** Fires "state" when `state` changed: off, asking (for the microphone, for the camera), on, failed (`problem`). */
export class Talk extends EventTarget {
  state = "off";
  problem = null;
  #api;
  #url;
  #peer = null;
  #microphone = null;
  #resource = null;
  #abort = null;
  #timer = 0;

  constructor(api, { device, id }) {
    super();
    this.#api = api;
    this.#url = `/whip/${encodeURIComponent(device)}/${encodeURIComponent(id)}`;
  }

  toggle() {
    if (this.state === "on" || this.state === "asking") this.stop();
    else this.start();
  }

  async start() {
    this.#become("asking");
    const abort = new AbortController();
    this.#abort = abort;
    try {
      await this.#negotiate(abort.signal);
    } catch (error) {
      if (abort.signal.aborted) return;
      this.#fail(error instanceof Problem ? error : new Problem("no_microphone", { detail: error.message }));
    }
  }

  /** With `leaving`, in a way that outlives the page. */
  stop({ leaving = false } = {}) {
    if (this.state === "off") return;
    this.#drop({ leaving });
    this.#become("off");
  }

  #become(state, problem = null) {
    this.state = state;
    this.problem = problem;
    this.dispatchEvent(new Event("state"));
  }

  #fail(problem) {
    this.#drop();
    this.#become("failed", problem);
  }

  #drop({ leaving = false } = {}) {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#peer?.close();
    this.#peer = null;
    this.#microphone?.getTracks().forEach((track) => track.stop());
    this.#microphone = null;
    if (this.#resource) this.#api.request("DELETE", this.#resource, { keepalive: leaving }).catch(() => {});
    this.#resource = null;
  }

  async #negotiate(signal) {
    // Browsers give the microphone to pages of this machine and to those that came by TLS only.
    if (!navigator.mediaDevices?.getUserMedia) throw new Problem("no_secure_context");
    if (!globalThis.RTCPeerConnection) throw new Problem("no_webrtc");
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
    const microphone = await navigator.mediaDevices.getUserMedia({ audio });
    if (signal.aborted) return microphone.getTracks().forEach((track) => track.stop());
    this.#microphone = microphone;
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#peer = peer;
    peer.addEventListener("connectionstatechange", () => peer === this.#peer && this.#connection());
    const sender = peer.addTransceiver(microphone.getAudioTracks()[0], { direction: "sendonly" });
    sender.setCodecPreferences?.(g711());
    await peer.setLocalDescription();
    const response = await this.#api.request("POST", this.#url, {
      body: peer.localDescription.sdp, type: "application/sdp", accept: "application/sdp", signal,
    });
    this.#resource = ownResource(response);
    const sdp = await response.text();
    if (signal.aborted) return this.#drop();
    this.#timer = setTimeout(() => this.#fail(new Problem("ice_failed")), CONNECT_MS);
    await peer.setRemoteDescription({ type: "answer", sdp });
  }

  #connection() {
    const state = this.#peer.connectionState;
    if (state === "connected") {
      clearTimeout(this.#timer);
      this.#become("on");
    } else if (state === "failed" || state === "closed") {
      this.#fail(new Problem("ice_failed"));
    }
  }
}

/** What cameras play, A-law first; the browser's other codecs are not offered. */
function g711() {
  const { codecs } = RTCRtpSender.getCapabilities("audio");
  const rank = (codec) => ["audio/pcma", "audio/pcmu"].indexOf(codec.mimeType.toLowerCase());
  return codecs.filter((codec) => rank(codec) >= 0).sort((a, b) => rank(a) - rank(b));
}
