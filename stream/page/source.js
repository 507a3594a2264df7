// Where the original comes from: a camera or the sample clip. Errors are sentences for the person at the screen.

export class SourceError extends Error {}

const CAMERA_ERRORS = {
  NotAllowedError: "The camera was refused. Allow it for this page (the sign in the address bar), then press Use my camera again.",
  NotFoundError: "No camera was found. Plug one in, or use the sample clip.",
  NotReadableError: "The camera is busy: another program holds it. Close that program and try again.",
  OverconstrainedError: "The camera cannot give this picture size. Choose another one and try again.",
};

// format: "640x480@25". Resolves to a MediaStream; its `note` says what is missing, if anything.
export async function openCamera(format) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new SourceError("Browsers give the camera only to https pages and to this machine's own address. Open the page under the name localhost, or over https.");
  }
  const [width, height, fps] = format.split(/[x@]/).map(Number);
  const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: fps, max: fps } };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio: true });
  } catch (error) {
    if (error.name === "NotFoundError" || error.name === "NotReadableError") return openWithoutSound(video);
    throw new SourceError(CAMERA_ERRORS[error.name] ?? `The camera could not be opened: ${error.message || error.name}.`);
  }
}

async function openWithoutSound(video) {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video });
    stream.note = "no microphone";
    return stream;
  } catch (error) {
    throw new SourceError(CAMERA_ERRORS[error.name] ?? `The camera could not be opened: ${error.message || error.name}.`);
  }
}

// Plays the clip in `player`, looped, and captures it with its sound.
export async function openSample(player) {
  const capture = player.captureStream ?? player.mozCaptureStream;
  if (!capture) throw new SourceError("This browser cannot send a clip. Use the camera, or open the page in Chromium or Firefox.");
  player.srcObject = null;
  player.src = "/sample.mp4";
  player.loop = true;
  try {
    await player.play();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new SourceError("The sample clip could not be played. Is the server still there?");
  }
  return capture.call(player);
}
