"""How a head moves while something is said: expression weights that reach a mouth's opening and width.

Around them comes what makes a person look alive: blinks, glances, nods, a little asymmetry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import lsq_linear

from training.data.head_model import Floats, HeadModel
from training.data.heads import Head, Moment

Track = NDArray[np.float32]

# Shapes that the solver may use; a name without side moves both sides alike.
CONTROLS = (
    "jawOpen", "jawForward", "mouthClose", "mouthFunnel", "mouthPucker", "mouthStretch", "mouthSmile", "mouthDimple",
    "mouthRollUpper", "mouthRollLower", "mouthUpperUp", "mouthLowerDown", "mouthPress", "mouthShrugLower",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Manner:
    """How a phone is made beyond opening and width.

    Attributes:
        weights: Shapes that it draws on, 0 to 1.
        tongue: Tip raised, and pushed out.
    """

    weights: dict[str, float]
    tongue: tuple[float, float] = (0.0, 0.0)


_ROUND = Manner({"mouthFunnel": 0.25, "mouthPucker": 0.6})
_HALF_ROUND = Manner({"mouthFunnel": 0.35, "mouthPucker": 0.3})
_PRESSED = Manner({"mouthPress": 0.35, "mouthRollUpper": 0.15, "mouthRollLower": 0.2})
_LIP_ON_TEETH = Manner({"mouthRollLower": 0.75, "mouthUpperUp": 0.5, "mouthShrugLower": 0.15})
_BARED = Manner({"mouthStretch": 0.2, "mouthUpperUp": 0.2, "mouthLowerDown": 0.25})
_FLARED = Manner({"mouthFunnel": 0.6, "mouthPucker": 0.15})
_SPREAD = Manner({"mouthSmile": 0.25, "mouthStretch": 0.2, "mouthUpperUp": 0.15, "mouthLowerDown": 0.1})
_TIP_UP = Manner({"mouthLowerDown": 0.15, "mouthUpperUp": 0.1}, (1.0, 0.0))
_TIP_OUT = Manner({"mouthLowerDown": 0.15, "mouthUpperUp": 0.15}, (1.0, 1.0))
_LOOSE = Manner({"mouthLowerDown": 0.1, "mouthUpperUp": 0.05})
# The 39 phones of the CMU dictionary; what is not named is loose.
MANNERS = {
    **dict.fromkeys(("P", "B", "M"), _PRESSED),
    **dict.fromkeys(("F", "V"), _LIP_ON_TEETH),
    **dict.fromkeys(("W", "UW", "UH"), _ROUND),
    **dict.fromkeys(("OW", "OY", "AO", "R", "ER"), _HALF_ROUND),
    **dict.fromkeys(("SH", "ZH", "CH", "JH"), _FLARED),
    **dict.fromkeys(("S", "Z"), _BARED),
    **dict.fromkeys(("IY", "IH", "Y", "EY"), _SPREAD),
    **dict.fromkeys(("T", "D", "N", "L"), _TIP_UP),
    **dict.fromkeys(("TH", "DH"), _TIP_OUT),
}
# Deviations, in shares of the eye distance, at which a miss weighs as much as a weight off by `_AWAY`.
_OPENING_OFF, _WIDTH_OFF, _SIDE_OFF, _AWAY = 0.001, 0.006, 0.02, 0.4
# Below this opening the lips shut along their whole length; shut lips overlap by so much.
SHUT, OVERLAP = 0.006, 0.004
# Pairs of upper and lower inner lip among the 68, from the middle to the corners.
_PAIRS = ((62, 66), (61, 67), (63, 65))


class MouthShaper:
    """Finds the expression of one head for a mouth, as it is seen in the portrait's pose.

    Args:
        model: The mesh.
        head: Whose mouth.
        base: float32 [57], weights that stay, such as a smile.
        own: Share of the portrait's own mouth that stays.
    """

    def __init__(self, model: HeadModel, head: Head, base: Floats | None = None, own: float = 0.0) -> None:
        self.own = own
        self._base = np.zeros(len(model.names), np.float32) if base is None else base
        self._groups = np.stack([model.weights({name: 1.0}) for name in CONTROLS])
        marks = model.landmarks
        upright = _upright(head, model)
        rest = model.shaped(head.fit.neutral + np.float32(own) * head.fit.own, self._base) @ upright
        eyes = float(rest[marks[45], 0] - rest[marks[36], 0])
        upper, lower = (np.array([marks[pair[k]] for pair in _PAIRS]) for k in (0, 1))
        near_upper, near_lower = _corner_pairs(model)
        upper, lower = np.concatenate([upper, near_upper]), np.concatenate([lower, near_lower])
        used = np.concatenate([upper, lower, marks[[48, 54]]])
        moved = np.tensordot(self._groups, model.expressions[:, used] @ upright, 1)
        count = len(upper)
        self._gaps = (moved[:, :count, 1] - moved[:, count : 2 * count, 1]).T / eyes
        self._rest_gaps = (rest[upper, 1] - rest[lower, 1]) / eyes
        self._widths = (moved[:, -1, 0] - moved[:, -2, 0]) / eyes
        self._rest_width = float(rest[marks[54], 0] - rest[marks[48], 0]) / eyes
        half = np.abs(rest[upper, 0] - rest[marks[62], 0]) / (self._rest_width * eyes / 2)
        self._profile = np.sqrt(np.clip(1 - half**2, 0.05, 1))

    @property
    def rest_width(self) -> float:
        """Width of the mouth at rest as a share of the outer-eye distance."""
        return self._rest_width

    def weights(self, opening: float, width: float, manner: Manner = _LOOSE) -> Floats:
        """Weights float32 [57] nearest to a manner that open the mouth so far and so wide.

        Args:
            opening: Distance of the inner lips over that of the outer eye corners.
            width: Distance of the mouth corners over the same.
            manner: What else is wanted.
        """
        shut = opening < SHUT
        wanted_gaps = np.where(self._profile > 0, opening * self._profile, 0) - (OVERLAP if shut else 0)
        side_off = _OPENING_OFF if shut else _SIDE_OFF
        off = np.concatenate([[_OPENING_OFF], np.full(len(wanted_gaps) - 1, side_off)])
        prior = np.array([manner.weights.get(name, 0.0) for name in CONTROLS])
        rows = np.concatenate(
            [self._gaps / off[:, None], self._widths[None] / _WIDTH_OFF, np.eye(len(CONTROLS)) / _AWAY]
        )
        wanted = np.concatenate(
            [(wanted_gaps - self._rest_gaps) / off, [(width - self._rest_width) / _WIDTH_OFF], prior / _AWAY]
        )
        found = lsq_linear(rows, wanted, bounds=(0, 1), method="bvls").x.astype(np.float32)
        return np.asarray(np.clip(self._base + found @ self._groups, 0, 1), np.float32)


def _upright(head: Head, model: HeadModel) -> Floats:
    """float32 [3, 2], model to picture, turned so that the eyes are level; x to the right, y up.

    The camera is far enough for lengths within the mouth to be those of a parallel projection.
    """
    to_picture = head.fit.pose.rotation[:2].T
    right, left = (head.fit.neutral[model.landmarks[k]] @ to_picture for k in (36, 45))
    level = (left - right) / np.linalg.norm(left - right)
    return np.asarray(to_picture @ np.array([[level[0], -level[1]], [level[1], level[0]]]), np.float32)


def _corner_pairs(model: HeadModel) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Inner-lip vertices between the landmarks, upper and lower ones that belong together."""
    vertex = dict(zip(model.contour_points.tolist(), model.contour_vertices.tolist(), strict=True))
    pairs = [(80, 88), (191, 95), (310, 318), (415, 324)]
    upper, lower = zip(*[(vertex[a], vertex[b]) for a, b in pairs], strict=True)
    return np.array(upper, np.int32), np.array(lower, np.int32)


def talking(
    model: HeadModel, head: Head, mouths: Track, phones: Sequence[str], rate_hz: float, rng: np.random.Generator
) -> list[Moment]:
    """Moments of a head that says something.

    Args:
        model: The mesh.
        head: Who.
        mouths: float32 [T, 2], opening above the closed mouth as a share of the outer-eye distance, and width over
            the person's own at rest.
        phones: What is being said at each of the T instants, in CMU's names; "" or any other for nothing special.
        rate_hz: Instants per second.
        rng: Decides mood, light, blinks, glances and nods; the same state gives the same moments.
    """
    count = len(mouths)
    mood = model.weights({"mouthSmile": float(rng.uniform(0, 0.2)), "cheekSquint": float(rng.uniform(0, 0.2))})
    brows = head.fit.weights * np.float32(rng.uniform(0, 0.8))
    brows[[i for i, name in enumerate(model.names) if not name.startswith(("brow", "eye"))]] = 0
    one_sided = rng.normal(0, 0.06)
    mood += brows + model.weights({"mouthLeft": max(0.0, one_sided), "mouthRight": max(0.0, -one_sided)})
    shaper = MouthShaper(model, head, mood, own=float(rng.uniform(0, 0.2)))
    light = tuple(rng.normal(0, 0.12, 3).tolist())
    manners = _manners(phones, rate_hz)
    eyes = _blinks(count, rate_hz, rng)
    turn = _sway(count, rate_hz, rng, (0.05, 0.06, 0.03))
    shift = _sway(count, rate_hz, rng, (0.015, 0.015, 0.01))
    gaze = _glances(count, rate_hz, rng)
    lids = model.weights({"eyeBlink": 1.0})
    moments = []
    for k in range(count):
        weights = shaper.weights(float(mouths[k, 0]), float(mouths[k, 1]) * shaper.rest_width, manners[k])
        moments.append(
            Moment(
                weights=np.maximum(weights, lids * eyes[k]),
                own=shaper.own,
                turn=(float(turn[k, 0]), float(turn[k, 1]), float(turn[k, 2])),
                shift=(float(shift[k, 0]), float(shift[k, 1]), float(shift[k, 2])),
                gaze=(float(gaze[k, 0]), float(gaze[k, 1])),
                light=(light[0], light[1], light[2]),
                tongue=manners[k].tongue,
            )
        )
    return moments


# Phones glide into each other over about this long.
GLIDE_S = 0.025


def _manners(phones: Sequence[str], rate_hz: float) -> list[Manner]:
    """Each instant's manner, smoothed over its neighbours."""
    each = [MANNERS.get(name, _LOOSE) for name in phones]
    values = np.array([[one.weights.get(name, 0.0) for name in CONTROLS] + list(one.tongue) for one in each])
    smooth = gaussian_filter1d(values, GLIDE_S * rate_hz, axis=0, mode="nearest")
    return [
        Manner(dict(zip(CONTROLS, row[:-2].tolist(), strict=True)), (float(row[-2]), float(row[-1]))) for row in smooth
    ]


BLINKS_HZ, BLINK_S = 0.25, 0.09


def _blinks(count: int, rate_hz: float, rng: np.random.Generator) -> Floats:
    """How far the lids are shut, float32 [T]."""
    times = np.arange(count) / rate_hz
    shut = np.zeros(count)
    for at in rng.uniform(0, count / rate_hz, rng.poisson(BLINKS_HZ * count / rate_hz)):
        shut = np.maximum(shut, np.exp(-(((times - at) / BLINK_S) ** 2)))
    return shut.astype(np.float32)


SWAY_S = 0.5


def _sway(count: int, rate_hz: float, rng: np.random.Generator, spread: tuple[float, ...]) -> Floats:
    """A slow random walk around a random middle, float32 [T, len(spread)]."""
    noise = rng.normal(0, 1, (count + 200, len(spread)))
    smooth = gaussian_filter1d(noise, SWAY_S * rate_hz, axis=0)[100 : 100 + count]
    smooth *= np.sqrt(2 * np.sqrt(np.pi) * SWAY_S * rate_hz) * 0.5
    return np.asarray((smooth + rng.normal(0, 0.7, len(spread))) * spread, np.float32)


def _glances(count: int, rate_hz: float, rng: np.random.Generator) -> Floats:
    """Directions that the eyes keep for a second or so, float32 [T, 2] radians."""
    changes = rng.random(count) < 0.8 / rate_hz
    directions = rng.normal(0, (0.08, 0.04), (int(changes.sum()) + 1, 2))
    return np.asarray(directions[np.cumsum(changes)], np.float32)
