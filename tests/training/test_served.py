"""What is measured is what is served: pasted as `stream.render` pastes, at the generator's size or another."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kernels.yuv import i420_to_rgb, rgb_to_i420
from models.catalogue import LoadedEngine, serving_crop, serving_mel
from stream.frames import FaceCrop, SyncedFrame, VideoFrame
from stream.painter import CpuPainter
from stream.render import RenderOptions, RenderStage
from tests.training.made import drawn_landmarks, made_clip
from training.data.cache import CachedClip
from training.glance import windows
from training.served import footage_of, serve
from training.subject import Subject

pytestmark = pytest.mark.unit


def _clip() -> CachedClip:
    """Its mouth opens and closes, so that the identity pictures change."""
    clip, landmarks = made_clip("a", "anna", frames=8), drawn_landmarks(8)
    landmarks[:, [13, 14], 1] += np.stack([-50 * clip.opening, 50 * clip.opening], -1)
    return replace(clip, landmarks=landmarks)


CLIP = _clip()


def _paint(face: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """The identity and a trace of what is shown, darker where the sound is loud."""
    loudness = mel.mean(axis=(1, 2, 3)).reshape(-1, 1, 1, 1)
    return np.asarray((0.8 * face[:, :3] + 0.2 * face[:, 3:]) * (0.9 - 0.02 * loudness), np.float32)


class _Engine:
    backend, precision = "torch", "fp32"

    def __init__(self) -> None:
        shapes = {"face": (None, 6, 96, 96), "mel": (None, 1, 80, 27)}
        self.inputs = {name: SimpleNamespace(shape=shape) for name, shape in shapes.items()}
        self.outputs: dict[str, Any] = {}

    def infer(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"picture": _paint(feed["face"], feed["mel"])}

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("identity", "masked"), [("same_frame", True), ("reference", True), ("open_mouth", False)])
def test_a_measured_picture_is_the_one_that_the_live_path_makes(identity: str, masked: bool) -> None:
    footage = footage_of(CLIP)
    service = serve(Subject("a", _paint, mask_row=48 if masked else 96, identity=identity), footage)
    mel = windows(CLIP, CLIP.pts_ns)
    pictures, strayed = service.pasted(service.generated(mel))
    assert strayed == 0
    manifest: Any = SimpleNamespace(crop=serving_crop(96, identity, masked=masked), mel=serving_mel())
    stage = RenderStage(CpuPainter(LoadedEngine(_Engine(), manifest, threads=1)), RenderOptions(badge=""))
    for index, frame in enumerate(footage.frames):
        planes = rgb_to_i420(frame)
        pts_ns = int(CLIP.pts_ns[index])
        face = FaceCrop(0, pts_ns, footage.to_crop(96), footage.landmarks[index], 1.0)
        stage.process(SyncedFrame(VideoFrame(pts_ns, pts_ns, "yuv420p", planes), (face,), mel[index, 0]))
        # The live path rounds halves up, `glance.draw` to even.
        assert np.abs(i420_to_rgb(planes).astype(int) - pictures[index]).max() <= 2
    assert (pictures != footage.frames).any()


def test_a_smaller_generator_is_pasted_into_the_same_frames() -> None:
    footage = footage_of(CLIP)
    subject = Subject("small", lambda face, _mel: face[:, 3:], size_px=48, mask_row=48, identity="same_frame")
    service = serve(subject, footage)
    assert service.originals.shape == (8, 48, 48, 3)
    pictures, strayed = service.pasted(np.zeros_like(service.originals))
    assert strayed == 0
    assert pictures.shape == footage.frames.shape
    changed = (pictures != footage.frames).any(axis=(0, 3))
    assert changed.any()
    assert not changed[: footage.margin_px + 44].any()


def test_a_change_outside_the_mask_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from training import served

    def stains(planes: Any, *_: Any, **__: Any) -> None:
        planes[0][3, 3] ^= 1
        planes[1][0, 0] ^= 1

    monkeypatch.setattr(served, "paste_face", stains)
    service = serve(Subject("a", _paint), footage_of(CLIP))
    assert service.pasted(service.originals)[1] == 2 * len(CLIP.crops)


def test_bare_crops_lie_where_the_product_cuts_them_out() -> None:
    footage = footage_of(CLIP)
    service = serve(Subject("a", _paint, identity="same_frame"), footage)
    pictures = service.bare(np.full_like(service.originals, 7))
    assert (footage.inner(pictures) == 7).all()
    margin = footage.margin_px
    assert (pictures[:, :margin] == footage.frames[:, :margin]).all()
