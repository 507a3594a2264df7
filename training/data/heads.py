"""Synthetic talking heads: a portrait moved by the mesh that was fitted to it, with the mesh's own landmarks as truth.

The mesh is drawn with the place in the portrait that each of its points came from, not with a colour: the photograph
is then read through that map, which is carried on beyond the face until it comes to rest. So hair, neck and background
stay a photograph, and without motion the picture is the portrait. Only what a closed mouth hides is drawn in colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.data.head_colours import flesh_colour, read_light, teeth_colour, without_teeth
from training.data.head_fit import Fit, Points, fit_head
from training.data.head_model import Floats, HeadModel, Normals

Picture = NDArray[np.uint8]

# Skin that tells the light: facing the camera by more than this cosine, this far from the lips.
FACING, OFF_LIPS = 0.2, 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """How a head is at one instant.

    Attributes:
        weights: float32 [57], expression weights in the model's order; None is the portrait's own expression.
        own: Share of the fit's `own` mouth on top of `weights`.
        turn: Rotation vector added to the portrait's pose, radians: nod, turn, tilt.
        shift: x, y and nearness added, as shares of the distance between the outer eye corners.
        gaze: Turn of the eyes to the subject's left and up, radians.
        light: x, y, z added to the portrait's light: 0.3 is a lamp a third as strong as all the portrait's light.
        tongue: Tip raised to the upper teeth, and pushed forward between the teeth, 0 to 1.
    """

    weights: Floats | None = None
    own: float = 0.0
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gaze: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tongue: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Head:
    """A person ready to be drawn.

    Attributes:
        portrait: uint8 RGB [H, H, 3].
        fit: The mesh on it.
        shade: float32 [4], the portrait's light: brightness of a surface is [1, normal] @ shade.
        teeth: float32 [3], RGB of well-lit teeth, 0 to 255.
        flesh: float32 [3], RGB of a well-lit tongue.
    """

    portrait: Picture
    fit: Fit
    shade: Floats
    teeth: Floats
    flesh: Floats


@dataclass(frozen=True, slots=True)
class View:
    """A drawn picture and its truth.

    Attributes:
        picture: uint8 RGB [S, S, 3].
        landmarks: float32 [478, 2], MediaPipe's points on the mesh, pixels of `picture`, x first.
    """

    picture: Picture
    landmarks: Points

    @property
    def opening(self) -> float:
        """Distance of the inner lips over that of the outer eye corners; 0 where the lips press into each other."""
        eyes = self.landmarks[263] - self.landmarks[33]
        gap = self.landmarks[14] - self.landmarks[13]
        return max(0.0, float(eyes[0] * gap[1] - eyes[1] * gap[0])) / float(eyes @ eyes)


def make_head(model: HeadModel, portrait: Picture, landmarks: Points) -> Head:
    """Fit the mesh to a portrait and read light and colours off it.

    Args:
        model: The mesh.
        portrait: uint8 RGB [H, H, 3].
        landmarks: float32 [478, 2] in its pixels.
    """
    fit = fit_head(model, landmarks)
    normals = Normals(fit.drawn, len(model.neutral))(rested(model, fit))
    skin = np.intersect1d(model.parts["skin"], fit.drawn)
    skin = skin[(normals[skin, 2] > FACING) & (model.from_lips[skin] > OFF_LIPS)]
    shade, colour = read_light(portrait, fit.places[skin], normals[skin])
    teeth = teeth_colour(portrait, landmarks, colour)
    return Head(without_teeth(portrait, landmarks), fit, shade, teeth, flesh_colour(colour))


def varied(model: HeadModel, head: Head, coefficients: Floats) -> Head:
    """Another person with the same skin: the portrait drawn on a face of another shape.

    Args:
        model: The mesh.
        head: Whose portrait.
        coefficients: float32 [100], added along the model's identities; their deviation over people is 1.
    """
    change = np.tensordot(coefficients, model.identities, 1).astype(np.float32)
    return replace(head, fit=replace(head.fit, neutral=head.fit.neutral + change))


def rested(model: HeadModel, fit: Fit) -> Floats:
    """The portrait's own vertices [V, 3] in the camera's directions."""
    return fit.pose.turned(model.shaped(fit.neutral + fit.own, fit.weights))
