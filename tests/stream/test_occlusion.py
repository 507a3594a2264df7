"""A hand or a microphone before a mouth is seen in time; a talking mouth never counts as covered."""

import numpy as np
import pytest

from benchmarks.mouth_covers import come_and_go
from models.mouth_cover import MouthCoverNetwork
from stream.faces import LoadedNetworks, load_networks, open_face_finder
from stream.frames import FaceCrop
from stream.occlusion import MouthWatch
from tests.faces import FRAME_NS, Rgb, clip, frame_of

pytestmark = pytest.mark.unit

# The bundled clip's first pictures: one talking face throughout.
PICTURES = 75
# Render takes lips up from 0.6 and lets them go below 0.4.
HALF = 0.5


@pytest.fixture(scope="module")
def pictures() -> list[Rgb]:
    return list(clip(count=PICTURES))


@pytest.fixture(scope="module")
def points(networks: LoadedNetworks, pictures: list[Rgb]) -> list[np.ndarray]:
    mesh = networks.landmarks.find(pictures[0])[0]
    found = []
    for picture in pictures:
        mesh = networks.landmarks.follow(picture, [mesh])[0] or mesh
        found.append(mesh.points[:, :2])
    return found


@pytest.fixture(scope="module")
def networks() -> LoadedNetworks:
    return load_networks()


def _found(networks: LoadedNetworks, pictures: list[Rgb]) -> list[FaceCrop | None]:
    finder = open_face_finder(max_faces=1, networks=networks)
    crops = [finder.find(frame_of(picture, number)) for number, picture in enumerate(pictures)]
    finder.close()
    return [found[0] if found else None for found in crops]


def _confidences(networks: LoadedNetworks, pictures: list[Rgb]) -> list[float]:
    return [0.0 if face is None else face.confidence for face in _found(networks, pictures)]


@pytest.mark.parametrize("kind", ["hand", "microphone", "cup"])
def test_a_cover_takes_the_confidence_away_and_gives_it_back(
    kind: str, networks: LoadedNetworks, pictures: list[Rgb], points: list[np.ndarray]
) -> None:
    # Gone again 16 pictures before the end.
    shown = come_and_go(pictures, points, kind, np.random.default_rng(5), still=13)
    faces = _found(networks, [each.picture for each in shown])
    confidences = [0.0 if face is None else face.confidence for face in faces]
    covered = [sure for each, sure in zip(shown, confidences, strict=True) if each.hidden >= 0.5]
    assert len(covered) >= 20
    assert np.mean([sure < HALF for sure in covered]) >= 0.9
    assert min(confidences[:10]) > HALF
    assert confidences[-1] > HALF
    # It is the cover that takes it, not the face.
    assert all(face is None or face.visible * face.plainness == face.confidence for face in faces)
    plain = [face.plainness > HALF for face, each in zip(faces, shown, strict=True) if face and each.hidden >= 0.5]
    assert np.mean(plain) >= 0.9


def test_a_talking_mouth_is_never_called_covered(networks: LoadedNetworks, pictures: list[Rgb]) -> None:
    assert min(_confidences(networks, pictures)) > HALF


class _Says(MouthCoverNetwork):
    """Stands in for the network where only its verdicts matter."""

    def __init__(self) -> None:
        pass


def _visible(verdicts: list[float]) -> list[float]:
    watch = MouthWatch(_Says())
    return [watch.judge(hidden, (number + 1) * FRAME_NS) for number, hidden in enumerate(verdicts)]


def test_one_odd_picture_changes_nothing() -> None:
    assert _visible([0, 0, 0, 1, 0, 0, 0]) == [1.0] * 7


def test_a_cover_is_seen_one_picture_after_it_came() -> None:
    assert _visible([0, 0, 0, 1, 1, 1])[3:] == [1.0, 0.0, 0.0]


def test_a_mouth_comes_back_step_by_step() -> None:
    back = _visible([1, 1, 1] + [0] * 8)[3:]
    assert back == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1])


def test_a_face_that_starts_covered_is_not_trusted_at_first() -> None:
    assert _visible([1.0])[0] == 0.0
