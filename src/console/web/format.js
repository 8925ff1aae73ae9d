import { language } from "./i18n.js";

const numbers = new Map();

/** A number in the reader's notation, with a fixed number of digits after the point. */
export function number(value, digits = 0) {
  if (!Number.isFinite(value)) return "–";
  const key = `${language()} ${digits}`;
  if (!numbers.has(key)) {
    numbers.set(key, new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return numbers.get(key).format(value);
}

/** Bits per second. */
export function bitRate(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 1e6) return `${number(value / 1e3)} kbit/s`;
  return `${number(value / 1e6, value < 1e7 ? 2 : 1)} Mbit/s`;
}

export function percent(share) {
  if (!Number.isFinite(share)) return "–";
  return `${number(share * 100, share > 0 && share < 0.1 ? 1 : 0)}%`;
}

/** A length of time since an RFC 3339 date, as 1:02:03. */
export function since(date, now = Date.now()) {
  return duration((now - Date.parse(date)) / 1000);
}

export function dateTime(date) {
  const at = Date.parse(date);
  if (!Number.isFinite(at)) return "–";
  return new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "medium" }).format(at);
}

const CODECS = {
  h264: "H.264", h265: "H.265", svac: "SVAC", pcma: "G.711A", pcmu: "G.711U", aac: "AAC", g7221: "G.722.1",
  g722: "G.722", opus: "Opus", vp8: "VP8", vp9: "VP9", av1: "AV1",
};

export function codec(name) {
  return name ? (CODECS[name.toLowerCase()] ?? name) : "–";
}

/** A name made fit for a file, whatever a device called itself. */
export function fileName(text) {
  return text.replace(/[\\/:*?"<>|\u0000-\u001f\s]+/g, "_").slice(0, 80);
}

/** The hour, minute and second of a moment. */
export function timeOfDay(date) {
  const at = new Date(date);
  if (Number.isNaN(at.getTime())) return "–";
  const two = (value) => String(value).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** A length of time in seconds, as 1:02:03. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** Bytes. */
export function fileSize(value) {
  if (!Number.isFinite(value)) return "–";
  const step = [["kB", 1e3], ["MB", 1e6], ["GB", 1e9]].findLast(([, size]) => value >= size);
  return step ? `${number(value / step[1], value / step[1] < 10 ? 1 : 0)} ${step[0]}` : `${number(value)} B`;
}
