"""From a portrait's landmarks to the mesh on it: pose, identity and expression by least squares.

What they leave is a smooth displacement, so that each vertex knows its place in the photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

from training.data.head_model import MEDIAPIPE_68, Floats, HeadModel, Indices

Points = NDArray[np.float32]
Reals = NDArray[np.floating[Any]]

POINTS = 478
# MediaPipe's face oval, from the top of the forehead over the subject's left cheek.
# fmt: off
FACE_OUTLINE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
# fmt: on
OUTLINE_GROWTH = 1.03
# In the model's lengths: what lies behind is covered by hair or ears; the outermost lip that a photograph shows.
BACK_OF_FACE, LIP_RIM = 1.0, 0.15
# Of the 68: the first of them are the jaw's, the last the lips'.
JAW_POINTS, LIPS_68 = 17, 48

# About a head and a half metre before the camera; a portrait does not tell the distance.
CAMERA_DISTANCE = 120.0
IDENTITIES = 50
# Deviation of the landmarks (shares of the face's height) at which a coefficient of one is as unlikely as it is.
_IDENTITY_WEIGHT, _EXPRESSION_WEIGHT = 0.03, 0.003
FITTED_EXPRESSIONS = (
    "browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R", "eyeBlink_L",
    "eyeBlink_R", "eyeWide_L", "eyeWide_R", "cheekSquint_L", "cheekSquint_R", "jawOpen", "mouthClose",
    "mouthFrown_L", "mouthFrown_R", "mouthLowerDown_L", "mouthLowerDown_R", "mouthSmile_L", "mouthSmile_R",
    "mouthStretch_L", "mouthStretch_R", "mouthUpperUp_L", "mouthUpperUp_R",
)  # fmt: skip
# How much a landmark counts: along outlines MediaPipe and the mesh mean different points.
_JAW, _BROW, _NOSE, _EYE, _LIP = 0.4, 0.5, 0.8, 1.5, 2.0
_TRUST = np.array([_JAW] * 17 + [_BROW] * 10 + [_NOSE] * 9 + [_EYE] * 12 + [_LIP] * 20)


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the head is in a picture.

    Attributes:
        turn: Rotation vector in radians: x nods down, y turns to the subject's left, z tilts.
        scale: Pixels per unit of length at the middle of the head.
        shift: x, y in pixels of the model's origin.
    """

    turn: tuple[float, float, float]
    scale: float
    shift: tuple[float, float]

    @property
    def rotation(self) -> NDArray[np.float64]:
        """[3, 3], model to camera."""
        return np.asarray(cv2.Rodrigues(np.array(self.turn, np.float64))[0], np.float64)

    def turned(self, vertices: Reals) -> Reals:
        """Vertices [V, 3] in the camera's directions: x right, y up, z towards it."""
        return np.asarray(vertices @ self.rotation.T.astype(vertices.dtype))


def project(turned: Reals, pose: Pose) -> Reals:
    """Perspective: x and y in pixels and nearness, [V, 3], of vertices [V, 3] that `Pose.turned` has turned."""
    scale = pose.scale / (1 - turned[:, 2] / CAMERA_DISTANCE)
    x, y = pose.shift[0] + turned[:, 0] * scale, pose.shift[1] - turned[:, 1] * scale
    return np.stack([x, y, turned[:, 2]], 1)


@dataclass(frozen=True)
class Fit:
    """A mesh on a portrait.

    Attributes:
        neutral: float32 [V, 3], this person without expression.
        own: float32 [V, 3], what the portrait's mouth has on top of `weights`.
        weights: float32 [57], the portrait's expression.
        pose: The portrait's.
        places: float32 [V, 2], the pixel of the portrait that shows each vertex, or should: what the closed lips
            hide is given the lips' own colour.
        drawn: int32 [T, 3], triangles of the face proper and of the mouth.
        bound: int32 [478, 3], the triangle that each of MediaPipe's points lies on ...
        shares: float32 [478, 3], ... and the weights of its corners.
        residual_px: Mean distance of the landmarks before the smooth displacement.
    """

    neutral: Floats
    own: Floats
    weights: Floats
    pose: Pose
    places: Points
    drawn: Indices
    bound: Indices
    shares: Floats
    residual_px: float

    def landmarks(self, projected: Points) -> Points:
        """MediaPipe's points float32 [478, 2] on a mesh projected to [V, 2 or 3]."""
        return np.asarray(np.einsum("nkd,nk->nd", projected[self.bound, :2], self.shares), np.float32)


def fit_head(model: HeadModel, landmarks: Points) -> Fit:
    """Fit pose, identity and expression to MediaPipe's points.

    Args:
        model: The mesh.
        landmarks: float32 [478, 2], pixels of the portrait.
    """
    vertices = np.concatenate([model.landmarks, model.contour_vertices])
    wanted = landmarks[np.concatenate([np.array(MEDIAPIPE_68), model.contour_points])].astype(np.float64)
    trust = np.concatenate([_TRUST, np.full(len(model.contour_points), _LIP)])
    expressed = np.array([model.names.index(each) for each in FITTED_EXPRESSIONS])
    # Rows of shapes, so that the mesh is one product: [1 + identities + expressions, points * 3].
    shapes = np.concatenate(
        [model.neutral[None], model.identities[:IDENTITIES], model.expressions[expressed]]
    )[:, vertices].reshape(1 + IDENTITIES + len(expressed), -1).astype(np.float64)  # fmt: skip
    height_px = float(np.ptp(wanted[:, 1]))

    def pose_of(values: NDArray[np.float64]) -> Pose:
        return Pose(tuple(values[:3]), float(np.exp(values[3])), tuple(values[4:6] * height_px))

    def errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
        mesh = (np.concatenate([[1.0], values[6:]]) @ shapes).reshape(-1, 3)
        off = (project(pose_of(values).turned(mesh), pose_of(values))[:, :2] - wanted) * trust[:, None] / height_px
        return np.concatenate(
            [off.ravel(), _IDENTITY_WEIGHT * values[6 : 6 + IDENTITIES], _EXPRESSION_WEIGHT * values[6 + IDENTITIES :]]
        )

    scale = height_px / np.ptp(model.neutral[vertices][:, 1])
    middle = wanted.mean(0) + np.array([0, 1]) * model.neutral[vertices][:, 1].mean() * scale
    start = np.concatenate(
        [[0, 0, 0, np.log(scale)], middle / height_px, np.zeros(IDENTITIES), np.full(len(expressed), 0.01)]
    )
    low = np.concatenate([np.full(6 + IDENTITIES, -np.inf), np.zeros(len(expressed))])
    high = np.concatenate([np.full(6 + IDENTITIES, np.inf), np.ones(len(expressed))])
    found = least_squares(errors, start, bounds=(low, high), x_scale="jac", max_nfev=30).x
    pose = pose_of(found)
    weights = np.zeros(len(model.names), np.float32)
    weights[expressed] = found[6 + IDENTITIES :]
    neutral = model.neutral + np.tensordot(
        found[6 : 6 + IDENTITIES].astype(np.float32), model.identities[:IDENTITIES], 1
    )
    shaped = model.shaped(neutral, weights)
    off = wanted - project(pose.turned(shaped[vertices]), pose)[:, :2]
    displaced = _displacement(model, shaped, pose, vertices, off)
    # Around the mouth, what the shapes cannot reach belongs to the smile for the photographer rather than to the face.
    way = np.linalg.norm(model.neutral - model.neutral[model.landmarks[LIPS_68:]].mean(0), axis=1)
    smile = (1 - np.clip((way - 3.0) / 3.0, 0, 1))[:, None].astype(np.float32)
    neutral, own = np.asarray(neutral + displaced * (1 - smile), np.float32), displaced * smile
    projected = project(pose.turned(model.shaped(neutral + own, weights)), pose)
    drawn = _drawn(model, projected, landmarks)
    bound, shares = _bind(model, projected, drawn, landmarks)
    return Fit(
        neutral=neutral,
        own=own,
        weights=weights,
        pose=pose,
        places=_places(model, neutral, projected).astype(np.float32),
        drawn=drawn,
        bound=bound,
        shares=shares,
        residual_px=float(np.linalg.norm(off, axis=1).mean()),
    )


def _displacement(model: HeadModel, shaped: Floats, pose: Pose, vertices: Indices, off: NDArray[np.float64]) -> Floats:
    """What the shapes could not reach: a thin plate through the landmarks' errors, [V, 3] in the model's directions."""
    # Far points that do not move keep the plate flat behind the ears and on the neck.
    still = model.parts["skin"][(shaped[model.parts["skin"], 2] < 0)][::40]
    at = np.concatenate([shaped[vertices], shaped[still]]).astype(np.float64)
    values = np.concatenate([off, np.zeros((len(still), 2))])
    smoothing = np.concatenate([np.where(np.arange(len(vertices)) < JAW_POINTS, 3.0, 0.1), np.full(len(still), 1.0)])
    plate = RBFInterpolator(at, values, kernel="thin_plate_spline", smoothing=smoothing)
    moved = np.zeros_like(shaped)
    soft = np.concatenate([model.parts[name] for name in ("skin", "socket", "lids", "eye_left", "eye_right")])
    moved[soft, :2] = plate(shaped[soft]) * [1, -1] / pose.scale
    return np.asarray(moved @ pose.rotation.astype(np.float32), np.float32)


def _places(model: HeadModel, neutral: Floats, projected: Points) -> Points:
    """Pixels of the portrait; within the lips those of the nearest point a little outside the line where they meet."""
    places = projected[:, :2].copy()
    skin = model.parts["skin"]
    way = model.from_lips[skin]
    for side in (False, True):
        same = skin[model.lower[skin] == side]
        way = model.from_lips[same]
        rim = same[(way > LIP_RIM) & (way < 2 * LIP_RIM)]
        hidden = same[way <= LIP_RIM]
        nearest = cKDTree(neutral[rim]).query(neutral[hidden])[1]
        places[hidden] = projected[rim[nearest], :2]
    return places


def _drawn(model: HeadModel, projected: Points, landmarks: Points) -> Indices:
    """Triangles inside the outline of the face, and everything that an open mouth or eye shows."""
    outline = landmarks[list(FACE_OUTLINE)]
    middle = outline.mean(0)
    grown = (middle + (outline - middle) * OUTLINE_GROWTH).astype(np.float32)
    inside = np.ones(len(projected), bool)
    for vertex in model.parts["skin"]:
        x, y = projected[vertex, :2]
        inside[vertex] = cv2.pointPolygonTest(grown, (float(x), float(y)), False) >= 0
    inside[model.parts["skin"]] &= model.neutral[model.parts["skin"], 2] > BACK_OF_FACE
    return model.triangles[inside[model.triangles].all(1)]


def _bind(model: HeadModel, projected: Points, drawn: Indices, landmarks: Points) -> tuple[Indices, Floats]:
    """For each landmark the nearest triangle under it, as three vertices and their shares."""
    mouth = np.zeros(len(projected), bool)
    mouth[np.concatenate([model.parts[name] for name in ("socket", "gums", "teeth", "lids")])] = True
    skin = drawn[~mouth[drawn].any(1)]
    corner, first, second = projected[skin[:, 0]], projected[skin[:, 1]], projected[skin[:, 2]]
    a, b = (first - corner)[:, :2], (second - corner)[:, :2]
    # Clockwise in the picture (y down) is towards the camera.
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    seen = area < -1e-4
    skin, corner, a, b, area = skin[seen], corner[seen], a[seen], b[seen], area[seen]
    bound = np.zeros((POINTS, 3), np.int32)
    shares = np.zeros((POINTS, 3), np.float32)
    for number, point in enumerate(landmarks):
        to = point - corner[:, :2]
        u = (to[:, 0] * b[:, 1] - to[:, 1] * b[:, 0]) / area
        v = (a[:, 0] * to[:, 1] - a[:, 1] * to[:, 0]) / area
        outside = np.maximum(np.maximum(-u, -v), np.maximum(u + v - 1, 0))
        hits = np.flatnonzero(outside <= 1e-3)
        if len(hits):
            best = hits[projected[skin[hits], 2].mean(1).argmax()]
        else:
            middle = corner[:, :2] + (a + b) / 3
            best = int(np.square(middle - point).sum(1).argmin())
        bound[number] = skin[best]
        shares[number] = 1 - u[best] - v[best], u[best], v[best]
    fixed = np.concatenate([model.landmarks[LIPS_68:], model.contour_vertices])
    points = np.concatenate([np.array(MEDIAPIPE_68[LIPS_68:]), model.contour_points])
    bound[points], shares[points] = fixed[:, None], (1, 0, 0)
    return bound, shares
