"""Draws synthetic heads with OpenGL: Mesa's llvmpipe on the CPU, or whatever card EGL finds."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import cv2
import numpy as np

from training.data.clips import MaterialError
from training.data.head_fit import Pose, project
from training.data.head_model import Floats, HeadModel, Normals
from training.data.head_photo import develop
from training.data.heads import Head, Moment, View, rested

SIZE_PX = 384
# Drawn at this multiple and averaged down.
OVERSAMPLING = 2
NO_RENDERER = (
    "heads are drawn with moderngl over EGL, and {0}. Install them: pip install 'visavis[train]'; "
    "on Debian apt-get install libegl1 libgl1 libgl1-mesa-dri"
)
LIBRARIES: dict[str, Any] = {"backend": "egl", "libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
# The neck, about which a head nods, in the model's lengths.
PIVOT = np.array([0.0, -5.0, -1.0], np.float32)
_VERTEX = """
#version 330
uniform float side;
in vec3 at;
in vec3 source;
in vec4 inner;
in vec3 facing;
out vec3 from;
out vec4 colour;
out vec3 normal;
out float nearness;
void main() {
    from = source;
    colour = inner;
    normal = facing;
    nearness = at.z;
    gl_Position = vec4(2.0 * (at.xy + 0.5) / side - 1.0, -at.z / 40.0, 1.0);
}
"""
_FRAGMENT = """
#version 330
uniform vec3 lamp;
uniform float lips;
uniform float depth;
in vec3 from;
in vec4 colour;
in vec3 normal;
in float nearness;
layout(location = 0) out vec4 place;
layout(location = 1) out vec4 drawn;
void main() {
    bool skin = colour.a < 0.0;
    place = vec4(from, skin ? 1.0 : 0.0);
    vec3 n = normalize(normal);
    float lit = 0.6 + 0.4 * clamp(dot(n, lamp), 0.0, 1.0);
    // Light that reaches the inside of a mouth has met flesh before.
    vec3 open = exp(-max(lips - nearness, 0.0) / depth * vec3(0.85, 1.1, 1.15));
    float wet = colour.a * pow(clamp(dot(n, normalize(lamp + vec3(0.0, 0.0, 1.0))), 0.0, 1.0), 30.0);
    drawn = vec4(skin ? vec3(0.0) : (colour.rgb * lit + 0.5 * wet) * open, skin ? 0.0 : 1.0);
}
"""
# The model's teeth touch its lips; moved back so much, they do not come through closed ones. How far a tongue that is
# pushed out goes beyond them.
TEETH_BACK, TONGUE_OUT = 0.3, 0.4
# The tip's height above the edge of the upper teeth when it is raised behind them, and below it when it is out;
# how deep the row of upper front teeth is.
TONGUE_BEHIND, TONGUE_BELOW, INCISORS = 0.5, 0.3, 0.5
# From the front of the lips to the front teeth, which light still reaches.
LIP_DEPTH = 1.1
# Base colour as a share of the flesh's, and wetness.
_GUMS, _SOCKET = (np.array([0.85, 0.75, 0.75]), 0.15), (np.array([0.5, 0.4, 0.4]), 0.0)
_TONGUE_WET, _TEETH_WET = 0.1, 0.15


class RendererError(MaterialError):
    """There is nothing to draw with."""


class HeadRenderer:
    """Draws heads, one at a time, on one CPU thread where Mesa is told so (LP_NUM_THREADS=1).

    Args:
        model: The mesh.
        size: Side of the pictures.

    Raises:
        RendererError: moderngl or an OpenGL 3.3 driver is missing.
    """

    def __init__(self, model: HeadModel, size: int = SIZE_PX) -> None:
        self._model, self._size = model, size
        self._side = size * OVERSAMPLING
        self._context = _context()
        self._program = self._context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        shape = (self._side, self._side)
        self._place = self._context.texture(shape, 4, dtype="f4")
        self._drawn = self._context.texture(shape, 4, dtype="f1")
        depth = self._context.depth_renderbuffer(shape)
        self._canvas = self._context.framebuffer([self._place, self._drawn], depth)
        self._vertices = self._context.buffer(reserve=len(model.neutral) * 13 * 4, dynamic=True)
        self._triangles: Any = None
        self._head: Head | None = None

    def __enter__(self) -> HeadRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the driver's memory back."""
        self._context.release()

    def draw(self, head: Head, moment: Moment) -> View:
        """Draw one picture.

        Args:
            head: Who.
            moment: How.
        """
        self._take(head)
        zoom = self._side / head.portrait.shape[0]
        turned, pose = self._posed(head, moment)
        projected = project(turned, pose)
        normals = self._normals(turned)
        self._render(head, moment, projected, normals, zoom)
        place = np.frombuffer(self._place.read(), np.float32).reshape(self._side, self._side, 4)
        drawn = np.frombuffer(self._drawn.read(), np.uint8).reshape(self._side, self._side, 4)
        picture = develop(head.portrait, place, drawn, self._size)
        landmarks = (head.fit.landmarks(projected) + 0.5) * (self._size / head.portrait.shape[0]) - 0.5
        return View(picture, landmarks.astype(np.float32))

    def _take(self, head: Head) -> None:
        """Upload what stays while one head is drawn."""
        if head is self._head:
            return
        self._head = head
        self._normals = Normals(head.fit.drawn, len(self._model.neutral))
        self._rest = _lit(head, self._normals(rested(self._model, head.fit)), (0, 0, 0))
        self._inner = self._colours(head)
        if self._triangles is not None:
            self._triangles.release()
        self._triangles = self._context.buffer(head.fit.drawn.tobytes())
        layout = [(self._vertices, "3f 3f 4f 3f", "at", "source", "inner", "facing")]
        self._array = self._context.vertex_array(self._program, layout, self._triangles)

    def _colours(self, head: Head) -> Floats:
        """float32 [V, 4]: RGB in [0, 1] and wetness of what is drawn in colour, wetness -1 elsewhere."""
        inner = np.full((len(self._model.neutral), 4), -1, np.float32)
        for part, (share, wet) in {"gums": _GUMS, "socket": _SOCKET}.items():
            inner[self._model.parts[part]] = [*(head.flesh * share / 255), wet]
        inner[self._model.tongue > 0] = [*(head.flesh / 255), _TONGUE_WET]
        inner[self._model.parts["teeth"]] = [*(head.teeth / 255), _TEETH_WET]
        return inner

    def _posed(self, head: Head, moment: Moment) -> tuple[Floats, Pose]:
        model, fit = self._model, head.fit
        weights, own = (fit.weights, 1.0) if moment.weights is None else (moment.weights, moment.own)
        vertices = model.shaped(fit.neutral + np.float32(own) * fit.own, weights)
        look = cv2.Rodrigues(np.array([-moment.gaze[1], moment.gaze[0], 0.0]))[0].astype(np.float32)
        for part in ("eye_left", "eye_right"):
            ball = model.parts[part]
            middle = vertices[ball].mean(0)
            vertices[ball] = (vertices[ball] - middle) @ look.T + middle
        vertices[np.concatenate([model.parts["teeth"], model.parts["gums"]]), 2] -= TEETH_BACK
        self._move_tongue(vertices, moment.tongue)
        turn = cv2.Rodrigues(np.array(moment.turn, np.float64))[0].astype(np.float32)
        vertices = (vertices - PIVOT) @ turn.T + PIVOT
        eyes = fit.landmarks(fit.places)[[33, 263]]
        eyes_px = float(np.linalg.norm(eyes[0] - eyes[1]))
        shift = (fit.pose.shift[0] + moment.shift[0] * eyes_px, fit.pose.shift[1] + moment.shift[1] * eyes_px)
        return fit.pose.turned(vertices), Pose(fit.pose.turn, fit.pose.scale * (1 + moment.shift[2]), shift)

    def _move_tongue(self, vertices: Floats, tongue: tuple[float, float]) -> None:
        """Raise the tip towards the upper teeth and push it out, the rest following by its share."""
        if not any(tongue):
            return
        share = self._model.tongue
        tip = vertices[share.argmax()]
        incisors = vertices[self._model.parts["teeth"]]
        upper = incisors[~self._model.lower[self._model.parts["teeth"]]]
        front = upper[upper[:, 2] > upper[:, 2].max() - INCISORS]
        height = front[:, 1].min() + TONGUE_BEHIND - (TONGUE_BEHIND + TONGUE_BELOW) * tongue[1]
        vertices[:, 1] += share**2 * max(tongue) * (height - tip[1])
        vertices[:, 2] += share**2 * tongue[1] * (front[:, 2].max() + TONGUE_OUT - tip[2])

    def _render(self, head: Head, moment: Moment, projected: Floats, normals: Floats, zoom: float) -> None:
        gain = np.clip(_lit(head, normals, moment.light) / self._rest, 0.6, 1.6)
        lips = projected[self._model.landmarks[[62, 66]]]
        opening = float(abs(lips[0, 1] - lips[1, 1])) / head.fit.pose.scale
        gain *= _lip_shadow(self._model.from_lips, opening)
        at = np.concatenate([(projected[:, :2] + 0.5) * zoom - 0.5, projected[:, 2:]], 1)
        rows = np.concatenate([at, head.fit.places, gain[:, None], self._inner, normals], 1)
        self._vertices.write(np.ascontiguousarray(rows, np.float32).tobytes())
        self._program["side"].value = self._side
        self._program["lips"].value = float(lips[:, 2].mean()) - LIP_DEPTH
        self._program["depth"].value = 1.0 + 0.9 * opening
        lamp = head.shade[1:] / max(float(head.shade[0]), 1.0) + np.array(moment.light) + np.array([0, 0, 1.0])
        self._program["lamp"].value = tuple(float(each) for each in lamp / np.linalg.norm(lamp))
        self._canvas.use()
        self._context.enable(self._context.DEPTH_TEST)
        self._canvas.clear()
        self._array.render()


# Way into the mouth at which the inner lip is in the dark; half width of the dark line between closed lips, how much
# light it takes, and the opening at which it is gone.
LIP_SHADOW, SEAM, SEAM_DARKNESS, SEAM_OPENING = 0.35, 0.1, 0.55, 0.4


def _lip_shadow(from_lips: Floats, opening: float) -> Floats:
    """Light left on the lips, [V]: none deep inside, little where closed lips meet."""
    inside = np.clip(1 + from_lips / LIP_SHADOW, 0.25, 1)
    seam = SEAM_DARKNESS * max(0.0, 1 - opening / SEAM_OPENING) * np.exp(-np.square(from_lips / SEAM))
    return np.asarray(inside * (1 - seam), np.float32)


def _lit(head: Head, normals: Floats, light: tuple[float, float, float]) -> Floats:
    """Brightness [V] of surfaces under the portrait's light and an added one."""
    lamp = head.shade[1:] + head.shade[0] * np.array(light, np.float32)
    return np.asarray(
        np.maximum(head.shade[0] + normals @ (lamp * np.ones(3, np.float32)), 0.25 * head.shade[0]), np.float32
    )


def _context() -> Any:  # noqa: ANN401 - moderngl is imported late
    try:
        import moderngl
    except ImportError as error:
        raise RendererError(NO_RENDERER.format("moderngl is not installed")) from error
    try:
        return moderngl.create_context(standalone=True, **LIBRARIES)
    except Exception as error:  # moderngl raises nothing narrower
        raise RendererError(NO_RENDERER.format(f"no context could be made ({error})")) from error
