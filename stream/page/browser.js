// What only the browser can measure: its own encoder, network, jitter buffer and decoder, from WebRTC statistics.

const pick = (stats, type, kind) => stats.find((r) => r.type === type && r.kind === kind);

// Average of a growing total since the last call: (new - old) / (new count - old count).
function step(now, before, total, count) {
  if (!now || !before) return NaN;
  const n = now[count] - before[count];
  return n > 0 ? (1000 * (now[total] - before[total])) / n : NaN;
}

// Keeps the last statistics, so that every reading covers the time since the one before.
export class BrowserMeter {
  #out = null;
  #in = null;

  // stats: the reports of getStats(). Times in ms, NaN where the browser does not tell.
  read(stats) {
    const out = pick(stats, "outbound-rtp", "video"), back = pick(stats, "inbound-rtp", "video");
    const sound = pick(stats, "inbound-rtp", "audio");
    const pair = stats.find((r) => r.type === "candidate-pair" && r.nominated && r.currentRoundTripTime !== undefined);
    const codec = back && stats.find((r) => r.id === back.codecId);
    const reading = {
      encode_ms: step(out, this.#out, "totalEncodeTime", "framesEncoded") + (step(out, this.#out, "totalPacketSendDelay", "packetsSent") || 0),
      wire_ms: pair ? pair.currentRoundTripTime * 500 : NaN,
      buffer_ms: step(back, this.#in, "jitterBufferDelay", "jitterBufferEmittedCount"),
      decode_ms: step(back, this.#in, "totalDecodeTime", "framesDecoded"),
      // Both are the sender's clock at what is being played: the picture ahead of the sound means that the sound is late.
      offset_ms: back?.estimatedPlayoutTimestamp && sound?.estimatedPlayoutTimestamp
        ? back.estimatedPlayoutTimestamp - sound.estimatedPlayoutTimestamp : NaN,
      width: back?.frameWidth, height: back?.frameHeight, fps: back?.framesPerSecond,
      codec: codec?.mimeType?.split("/")[1], frozen: back?.freezeCount ?? 0,
    };
    this.#out = out;
    this.#in = back;
    return reading;
  }
}
