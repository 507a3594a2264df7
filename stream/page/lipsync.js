// Keeps a call's picture beside its sound. A browser aligns them by itself, but leaves up to 30 ms, and takes half a
// minute: it moves the picture by half of what is missing, every few seconds. Here that is done four times a second.

const LOOK_MS = 250;
const PACKET_MS = 20; // sound is sent when the last sample of its packet is known
const SCREEN_MS = 8; // a picture waits half a frame of 60 Hz for its screen; the browser does not count that
const START_MS = 80 + PACKET_MS - SCREEN_MS; // Chromium begins with a buffer of 80 ms of sound
const MOST_MS = 500; // beyond that a picture that moves is better than one that fits
const SILENT_LOOKS = 4;
const GAIN = 0.25, STEP_MS = 20; // a wrong reading does no harm that is seen
const REACH_MS = 30; // the browser's own figure is up to 20 ms below what was asked for

const pick = (stats, kind) => stats.find((r) => r.type === "inbound-rtp" && r.kind === kind);

// Average in ms of a growing total of seconds, per sample or frame since the last look; NaN where there was none.
function since(now, before, total) {
  const n = now.jitterBufferEmittedCount - (before?.jitterBufferEmittedCount ?? 0);
  return n > 0 ? (1000 * (now[total] - (before?.[total] ?? 0))) / n : NaN;
}

// How late the sound is (ms, negative = early), by the sender's reports where the browser has them, which takes two
// seconds, else by what the two buffers hold; NaN = not known.
export function lateness(picture, sound, before) {
  const shown = picture.estimatedPlayoutTimestamp, heard = sound.estimatedPlayoutTimestamp;
  if (shown && heard) return shown - heard - SCREEN_MS;
  const ahead = since(sound, before?.sound, "jitterBufferDelay") - since(picture, before?.picture, "jitterBufferDelay");
  return PACKET_MS + ahead - SCREEN_MS;
}

// How long the picture should be held from now on, in ms. What was asked for may lie far below what the browser holds
// by itself (now): asking for less than that changes nothing, and must not be made up for later.
export function nextHold(asked, now, late) {
  const step = Math.max(-STEP_MS, Math.min(STEP_MS, GAIN * late));
  return Math.max(0, Math.min(MOST_MS, Math.max(asked, now - REACH_MS) + step));
}

export class LipSync {
  #pc;
  #before = null;
  #asked = 0;
  #silent = 0;
  #timer = null;

  // pc: an RTCPeerConnection, before its answer, so that the first picture is already held. Ends with it.
  constructor(pc) {
    this.#pc = pc;
    if (!pc.getReceivers().some(({ track }) => track.kind === "audio")) return;
    this.#hold(START_MS);
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  #hold(ms) {
    this.#asked = ms;
    const receiver = this.#pc.getReceivers().find(({ track }) => track.kind === "video");
    // A browser without this setting goes on by itself.
    if (receiver && "jitterBufferTarget" in receiver) receiver.jitterBufferTarget = ms;
  }

  async #look() {
    if (this.#pc.connectionState === "closed") return clearInterval(this.#timer);
    const stats = [...(await this.#pc.getStats()).values()], picture = pick(stats, "video"), sound = pick(stats, "audio");
    const before = this.#before;
    if (!picture) return;
    this.#before = { picture, sound };
    const heard = sound?.jitterBufferEmittedCount > (before?.sound?.jitterBufferEmittedCount ?? 0);
    this.#silent = heard ? 0 : this.#silent + 1;
    // Without sound there is nothing to wait for.
    if (this.#silent >= SILENT_LOOKS) return this.#hold(0);
    // Not every browser tells what it holds by itself.
    const now = since(picture, before?.picture, "jitterBufferTargetDelay") || 0;
    const late = heard ? lateness(picture, sound, before) : NaN;
    if (Number.isFinite(late)) this.#hold(nextHold(this.#asked, now, late));
  }
}
