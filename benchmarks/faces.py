"""Landmarks: MediaPipe's package against its networks on the CPU engine; what covers a mouth.

Speed is measured on the bundled clip, one thread for the default back end.
Agreement and covers need the real material and are left out, and said to be,
where it is absent.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import RESULTS, Measurement, percentiles, rows, table, write_result
from benchmarks.mouth_covers import COVERS, come_and_go
from kernels.yuv import rgb_to_i420
from models.landmarks import LandmarkNetworks
from stream.errors import ConfigError
from stream.face_tracking import FaceReader, FollowingReader
from stream.faces import Backend, FaceFinder, MediapipeReader, open_face_finder
from stream.frames import NS_PER_S, VideoFrame

Rgb = NDArray[np.uint8]

SAMPLE = Path(__file__).parents[1] / "stream" / "assets" / "sample.mp4"
MATERIAL = Path(__file__).parents[2] / "shared" / "data"
FRAME_NS = NS_PER_S // 25
BUDGET_PX = 0.25
# From here on a mouth counts as hidden, and its confidence must be below the point where lips are let go.
_HIDDEN = 0.5
_TRUSTED = 0.5


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture size and how many times the clip's face is in it."""

    name: str
    height: int
    width: int
    faces: int


SCENES = (
    Scene("640x480, one face", 480, 640, 1),
    Scene("640x480, two faces", 480, 640, 2),
    Scene("1280x720, one face", 720, 1280, 1),
    Scene("1280x720, two faces", 720, 1280, 2),
)


def main(argv: list[str]) -> int:
    """Measure, print, write the JSON; 1 when the back ends differ by more than the goal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks run faces", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="timed pictures per row")
    parser.add_argument("--only", choices=["speed", "agreement", "covers"], help="one part instead of all")
    parser.add_argument("--material", type=Path, default=Path(os.environ.get("VISAVIS_MATERIAL", MATERIAL)))
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    asked = parser.parse_args(argv)
    body: dict[str, Any] = {"threads": 1, "precision": LandmarkNetworks().precision}
    if asked.only in (None, "speed"):
        measured = [row for scene in SCENES for row in speed(scene, asked.count)]
        body["rows"] = rows(measured)
        print(table(measured))
    if not asked.material.is_dir():
        print(f"agreement and covers are left out: there is no material at {asked.material}")
    else:
        body |= _on_material(asked.material, asked.only)
    print(write_result("faces", body, asked.results))
    return 0 if body.get("agreement_mean_px", 0.0) <= BUDGET_PX else 1


def _on_material(material: Path, only: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if only in (None, "agreement"):
        body["agreement"] = [row for path in _clips(material) if (row := agreement(path))]
        for row in body["agreement"]:
            print("{clip:34} mean {mean_px:.3f} p95 {p95_px:.3f} px at 480 rows, {pictures} pictures".format(**row))
        pictures = [row["pictures"] for row in body["agreement"]]
        body["agreement_mean_px"] = float(np.average([row["mean_px"] for row in body["agreement"]], weights=pictures))
        print(f"mean over all {sum(pictures)} pictures: {body['agreement_mean_px']:.3f} px, goal {BUDGET_PX}")
    if only in (None, "covers"):
        body["covers"] = covers(sorted((material / "video" / "hdtf").glob("*.mp4")))
        print(body["covers"])
    return body


def _clips(material: Path) -> list[Path]:
    video = material / "video"
    return [*sorted(video.glob("hdtf/*.mp4")), *sorted(video.glob("grid/*.mpg")), video / "dubbing" / "sailing_en.mp4"]


# -- speed -----------------------------------------------------------------------------------------


def speed(scene: Scene, count: int) -> list[Measurement]:
    """Milliseconds per picture of both back ends on one scene; each must find all faces first."""
    frames = list(_frames(scene))
    measured = []
    backends: tuple[Backend, ...] = ("openvino", "mediapipe")
    for backend in backends:
        try:
            finder = open_face_finder(backend, max_faces=scene.faces)
        except ConfigError as error:
            print(f"{backend} is left out: {error}")
            continue
        measured.append(_timed(f"{scene.name}, {backend}", finder, frames, count, scene.faces))
        finder.close()
    return measured


def _timed(name: str, finder: FaceFinder, frames: Sequence[VideoFrame], count: int, faces: int) -> Measurement:
    """The clip forwards and backwards, so that no picture jumps."""
    path = [*frames, *frames[-2:0:-1]]
    warmup, wall_ms, cpu_ms, found = 20, [], [], 0
    for i in range(warmup + count):
        source = path[i % len(path)]
        frame = VideoFrame(i * FRAME_NS, 0, "yuv420p", source.planes)
        wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
        crops = finder.find(frame)
        if i >= warmup:
            wall_ms.append((time.perf_counter_ns() - wall_ns) / 1e6)
            cpu_ms.append((time.process_time_ns() - cpu_ns) / 1e6)
            found += len(crops) == faces
    if found < 0.95 * count:
        raise RuntimeError(f"{name}: all {faces} faces were found in {found} of {count} pictures only")
    return Measurement(name, percentiles(wall_ms), {"cpu_ms_p50": float(np.median(cpu_ms)), "warmup": warmup})


def _frames(scene: Scene) -> Iterator[VideoFrame]:
    """The bundled clip's first two seconds, its faces side by side on the scene."""
    for number, picture in enumerate(_pictures(SAMPLE, 50)):
        column = scene.width // scene.faces
        scale = min(column / picture.shape[1], scene.height / picture.shape[0])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas = np.full((scene.height, scene.width, 3), 90, np.uint8)
        top, left = (scene.height - small.shape[0]) // 2, (column - small.shape[1]) // 2
        for k in range(scene.faces):
            start = k * column + left
            canvas[top : top + small.shape[0], start : start + small.shape[1]] = small
        yield _frame(canvas, number)


# -- agreement -------------------------------------------------------------------------------------


class MediapipeSmoothing:
    """What MediaPipe does to the points in VIDEO mode with one face, at 25 pictures a second.

    Source:
        `landmarks_smoothing_calculator.cc` and `one_euro_filter.cc` with the values of
        `face_landmarks_detector_graph.cc`; every coordinate has its own cutoff.
    """

    _MIN_CUTOFF_HZ, _BETA, _DERIVATIVE_CUTOFF_HZ, _RATE_HZ = 0.05, 80.0, 1.0, 25.0

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._smooth = self._speed = np.zeros(0, np.float32)

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter float32 [478, 2]."""
        if self._last is None:
            self._last, self._smooth, self._speed = points, points.copy(), np.zeros_like(points)
            return points
        size = float(np.ptp(points, axis=0).mean())
        speed = (points - self._last) * np.float32(self._RATE_HZ / size)
        self._speed = self._speed + (speed - self._speed) * self._gain(np.float32(self._DERIVATIVE_CUTOFF_HZ))
        gain = self._gain(np.float32(self._MIN_CUTOFF_HZ) + np.float32(self._BETA) * np.abs(self._speed))
        self._smooth = self._smooth + (points - self._smooth) * gain
        self._last = points
        return self._smooth

    def _gain(self, cutoff_hz: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
        turn = np.asarray(2 * np.pi * cutoff_hz / self._RATE_HZ, np.float32)
        return np.asarray(turn / (1 + turn), np.float32)


def agreement(path: Path, count: int = 150) -> dict[str, Any] | None:
    """Distance of the default back end to MediaPipe's package in VIDEO mode over a clip, one face.

    The package smooths by itself, so the same smoothing is put over ours.
    """
    ours = FollowingReader(LandmarkNetworks(), 1)
    theirs: FaceReader = MediapipeReader(1)
    smoothing = MediapipeSmoothing()
    distances_px, differing = [], 0
    for number, picture in enumerate(_pictures(path, count)):
        frame = _frame(picture, number)
        mine, reference = ours.read(frame), theirs.read(frame)
        differing += len(mine) != len(reference)
        if not mine or not reference:
            smoothing = MediapipeSmoothing()
            continue
        points = smoothing(mine[0].points[:, :2])
        apart = np.linalg.norm(points - reference[0].points[:, :2], axis=1).mean()
        distances_px.append(float(apart) * 480 / frame.height)
    theirs.close()
    if not distances_px:
        return None
    return {
        "clip": path.name,
        "pictures": len(distances_px),
        "mean_px": float(np.mean(distances_px)),
        "p95_px": float(np.percentile(distances_px, 95)),
        "found_by_one_only": differing,
    }


# -- covers ----------------------------------------------------------------------------------------


def covers(paths: Sequence[Path]) -> dict[str, Any]:
    """How often a covered mouth is flagged, by kind of cover, and how often a clear one is."""
    networks = LandmarkNetworks()
    alarms: list[bool] = []
    flagged: dict[str, list[bool]] = {kind: [] for kind in COVERS}
    for number, path in enumerate(paths):
        pictures = list(_pictures(path, 200))
        points = _points(networks, pictures)
        alarms += [sure < _TRUSTED for sure in _confidences(pictures)]
        for kind in COVERS:
            shown = come_and_go(pictures[:75], points[:75], kind, np.random.default_rng([number, len(kind)]))
            said = _confidences([each.picture for each in shown])
            flagged[kind] += [sure < _TRUSTED for each, sure in zip(shown, said, strict=True) if each.hidden >= _HIDDEN]
    return {
        "clear_pictures": len(alarms),
        "clear_flagged": float(np.mean(alarms)),
        "covered_pictures": sum(map(len, flagged.values())),
        "covered_flagged": float(np.mean([each for kind in flagged.values() for each in kind])),
        "by_kind": {kind: float(np.mean(each)) for kind, each in flagged.items()},
    }


def _points(networks: LandmarkNetworks, pictures: Sequence[Rgb]) -> list[NDArray[np.float32]]:
    """Landmarks of a face that is there in every picture."""
    mesh, points = networks.find(pictures[0])[0], []
    for picture in pictures:
        mesh = networks.follow(picture, [mesh])[0] or mesh
        points.append(mesh.points[:, :2])
    return points


def _confidences(pictures: Sequence[Rgb]) -> list[float]:
    """What a finder says of the one face in each picture; 0 where it finds none."""
    finder = open_face_finder(max_faces=1)
    crops = [finder.find(_frame(picture, number)) for number, picture in enumerate(pictures)]
    finder.close()
    return [found[0].confidence if found else 0.0 for found in crops]


def _pictures(path: Path, count: int) -> Iterator[Rgb]:
    with av.open(path) as container:
        for frame in islice(container.decode(video=0), count):
            yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def _frame(picture: Rgb, number: int) -> VideoFrame:
    return VideoFrame(number * FRAME_NS, 0, "yuv420p", rgb_to_i420(picture))
