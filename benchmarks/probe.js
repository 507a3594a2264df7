// Runs inside the browser: sends the fake camera and microphone, and writes down when each numbered
// frame and each block of sound was seen on its way out and on its way back. It measures, never judges.
"use strict";
(() => {
  const CELL = 16, CELLS = 13;

  // Reads the 13 cells at the top left; -1 where the parity is wrong.
  async function readNumber(frame, width, strip) {
    const cell = CELL * frame.codedWidth / width;
    const rect = { x: 0, y: 0, width: Math.ceil(cell * CELLS / 2) * 2, height: Math.ceil(cell / 2) * 2 };
    const layout = await frame.copyTo(strip, { rect });
    const { offset, stride } = layout[0];
    let number = 0, ones = 0;
    for (let i = 0; i < CELLS; i++) {
      let sum = 0, n = 0;
      for (let y = Math.floor(cell * 0.3); y < cell * 0.7; y++)
        for (let x = Math.floor(cell * (i + 0.3)); x < cell * (i + 0.7); x++) { sum += strip[offset + y * stride + x]; n++; }
      const bit = sum / n > 125 ? 1 : 0;
      ones += bit;
      if (i < CELLS - 1) number = number * 2 + bit;
    }
    return ones % 2 ? -1 : number;
  }

  async function watchVideo(track, width, log) {
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    const strip = new Uint8Array(1 << 17);
    for (;;) {
      const { value: frame, done } = await reader.read();
      if (done) return;
      const now = performance.now();
      try {
        log.push([now, await readNumber(frame, width, strip), frame.timestamp, frame.codedWidth]);
      } finally { frame.close(); }
    }
  }

  async function watchAudio(track, log, blocks) {
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { value: data, done } = await reader.read();
      if (done) return;
      const samples = new Float32Array(data.numberOfFrames);
      data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      log.push([performance.now(), data.numberOfFrames, data.sampleRate, data.timestamp]);
      blocks.push(samples);
      data.close();
    }
  }

  function toBase64(blocks) {
    const total = blocks.reduce((n, b) => n + b.length, 0), pcm = new Int16Array(total);
    let at = 0;
    for (const b of blocks) for (let i = 0; i < b.length; i++) pcm[at++] = Math.max(-1, Math.min(1, b[i])) * 32767;
    const bytes = new Uint8Array(pcm.buffer), parts = [];
    for (let i = 0; i < bytes.length; i += 32768) parts.push(String.fromCharCode.apply(null, bytes.subarray(i, i + 32768)));
    return btoa(parts.join(""));
  }

  const state = {};

  async function start({ width, height, fps, sound, watch, query, lipSync }) {
    const timing = { asked: performance.now() };
    const media = await navigator.mediaDevices.getUserMedia({
      video: { width: { exact: width }, height: { exact: height }, frameRate: { ideal: fps } },
      audio: sound && { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    const pc = new RTCPeerConnection();
    Object.assign(state, { media, pc, timing, video: { sent: [], received: [] },
      audio: { sent: [], received: [] }, blocks: { sent: [], received: [] }, states: [] });
    for (const track of media.getTracks()) pc.addTrack(track, media);
    pc.onconnectionstatechange = () => {
      state.states.push([performance.now(), pc.connectionState]);
      if (pc.connectionState === "connected") timing.connected ??= performance.now();
    };
    const player = document.createElement("video");
    player.autoplay = true;
    player.playsInline = true;
    document.body.append(player);
    pc.ontrack = ({ track, streams }) => {
      player.srcObject = streams[0] ?? new MediaStream([...(player.srcObject?.getTracks() ?? []), track]);
      player.play().catch(() => {});
      if (!watch) return;
      if (track.kind === "video") watchVideo(track.clone(), width, state.video.received);
      else watchAudio(track.clone(), state.audio.received, state.blocks.received);
    };
    if (watch) {
      watchVideo(media.getVideoTracks()[0].clone(), width, state.video.sent);
      if (sound) watchAudio(media.getAudioTracks()[0].clone(), state.audio.sent, state.blocks.sent);
    }
    await pc.setLocalDescription(await pc.createOffer());
    if (lipSync) new (await import(lipSync)).LipSync(pc);
    await new Promise((resolve) => {
      if (pc.iceGatheringState === "complete") resolve();
      pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && resolve();
      setTimeout(resolve, 1000);
    });
    timing.posted = performance.now();
    const reply = await fetch(`/sessions${query}`, {
      method: "POST", headers: { "Content-Type": "application/sdp" }, body: pc.localDescription.sdp });
    timing.answered = performance.now();
    if (reply.status !== 201) throw new Error(`the server answered ${reply.status}: ${await reply.text()}`);
    state.location = reply.headers.get("Location");
    const sdp = await reply.text();
    await pc.setRemoteDescription({ type: "answer", sdp });
    return { location: state.location, answer: sdp };
  }

  async function stats() {
    const out = {};
    for (const r of (await state.pc.getStats()).values()) {
      if (r.type === "inbound-rtp" || r.type === "outbound-rtp" || r.type === "remote-inbound-rtp") out[`${r.type}-${r.kind}`] = r;
      if (r.type === "codec") out[r.id] = r;
    }
    return { ...out, timing: state.timing, states: state.states };
  }

  async function stop() {
    const figures = await stats();
    const result = { video: state.video, audio: state.audio, stats: figures,
      sound: { sent: toBase64(state.blocks.sent), received: toBase64(state.blocks.received) } };
    state.pc.close();
    state.media.getTracks().forEach((t) => t.stop());
    await fetch(state.location, { method: "DELETE" }).catch(() => {});
    return result;
  }

  window.probe = { start, stats, stop };
})();
