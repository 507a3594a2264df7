// One call to the server: offer, answer, mode changes, figures, and the end. It knows nothing of the page.

import { LipSync } from "./lipsync.js";

export class CallError extends Error {
  // kind: "full" | "gone" | "refused"; retryAfter_s only for "full".
  constructor(kind, message, retryAfter_s = 0) {
    super(message);
    this.kind = kind;
    this.retryAfter_s = retryAfter_s;
  }
}

async function ask(url, options) {
  try {
    return await fetch(url, options);
  } catch {
    throw new CallError("gone", "The server does not answer.");
  }
}

async function reason(reply) {
  const text = (await reply.text()).trim();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text || `The server answered ${reply.status}.`;
  }
}

export async function fetchOptions() {
  const reply = await ask("/api/options");
  if (!reply.ok) throw new CallError("refused", await reason(reply));
  return reply.json();
}

export async function addVoice(file) {
  const reply = await ask(`/api/voices?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  if (!reply.ok) throw new CallError("refused", await reason(reply));
  return reply.json();
}

const GATHER_MS = 1500; // a browser without a network still answers at once; more is a broken interface
const LOST_MS = 2500; // "disconnected" often heals by itself within two seconds

// Events: "live", "lost" (detail: CallError), "figures" (detail: the server's JSON), "picture" (detail: MediaStream).
export class Call extends EventTarget {
  #pc = null;
  #source = null;
  #location = null;
  #over = false;

  async open(stream, choice) {
    const pc = (this.#pc = new RTCPeerConnection());
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    if (!stream.getAudioTracks().length) pc.addTransceiver("audio", { direction: "recvonly" });
    const picture = new MediaStream();
    pc.ontrack = ({ track }) => {
      picture.addTrack(track);
      this.#tell("picture", picture);
    };
    pc.onconnectionstatechange = () => this.#watch(pc.connectionState);
    await pc.setLocalDescription(await pc.createOffer());
    new LipSync(pc);
    await this.#gathered();
    const reply = await ask(`/sessions?${new URLSearchParams(choice)}`, {
      method: "POST", headers: { "Content-Type": "application/sdp" }, body: pc.localDescription.sdp,
    });
    if (reply.status === 503) {
      throw new CallError("full", "All places on this server are taken.", Number(reply.headers.get("Retry-After")) || 5);
    }
    if (reply.status !== 201) throw new CallError("refused", await reason(reply));
    this.#location = reply.headers.get("Location");
    if (this.#over) return this.#release();
    await pc.setRemoteDescription({ type: "answer", sdp: await reply.text() });
    this.#listen();
  }

  // Switches mode or voice while the picture runs.
  async change(choice) {
    const reply = await ask(this.#location, {
      method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify(choice),
    });
    if (reply.status === 404 || reply.status === 410) this.#lose(new CallError("ended", "The session ended on the server."));
    else if (!reply.ok) throw new CallError("refused", await reason(reply));
  }

  // Where the session lives on the server; null before and after.
  get location() {
    return this.#location;
  }

  // Ends the call here and on the server, also while the page is being closed.
  close() {
    this.#over = true;
    this.#source?.close();
    this.#pc?.close();
    this.#release();
  }

  async stats() {
    return this.#pc && !this.#over ? [...(await this.#pc.getStats()).values()] : [];
  }

  #release() {
    if (this.#location) fetch(this.#location, { method: "DELETE", keepalive: true }).catch(() => {});
    this.#location = null;
  }

  #gathered() {
    const pc = this.#pc;
    return new Promise((resolve) => {
      if (pc.iceGatheringState === "complete") resolve();
      pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && resolve();
      setTimeout(resolve, GATHER_MS);
    });
  }

  #watch(state) {
    if (state === "connected") this.#tell("live");
    if (state === "failed") this.#find();
    if (state === "disconnected") setTimeout(() => this.#pc.connectionState !== "connected" && this.#find(), LOST_MS);
  }

  #listen() {
    this.#source = new EventSource(`${this.#location}/events`);
    this.#source.onmessage = ({ data }) => this.#tell("figures", JSON.parse(data));
    this.#source.addEventListener("end", () => this.#lose(new CallError("ended", "The session ended on the server.")));
    this.#source.onerror = () => this.#find();
  }

  // Something broke: the server went away, or it is there and has ended this session.
  async #find() {
    if (this.#over) return;
    const there = await fetch("/health", { cache: "no-store" }).then((reply) => reply.status < 600, () => false);
    if (!there) return this.#lose(new CallError("gone", "The server does not answer."));
    const closed = this.#source?.readyState === EventSource.CLOSED;
    if (closed) return this.#lose(new CallError("ended", "The session ended on the server."));
    if (["failed", "disconnected"].includes(this.#pc.connectionState)) {
      this.#lose(new CallError("gone", "The connection to the server broke."));
    }
  }

  #lose(error) {
    if (this.#over) return;
    this.close();
    this.#tell("lost", error);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
