"""Draw the pictures that the screens show when everything else fails.

    python tools/make_fallback.py [--output fallback]

makes `loop_silencioso.mp4` (a calm night sea, without sound, that loops unseen) and `placeholder.png` (its first
frame). The picture says nothing in any language: a moon, slow waves, and three small dots for "to be continued".

Needs an ffmpeg with libx264 on PATH, and numpy: the picture is arithmetic, so there is no font, photograph or licence
behind it, but in ffmpeg's own expressions (`geq`) it took ten seconds a frame. The same ffmpeg and numpy on the same
kind of processor give the same bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.floating[Any]]

WIDTH, HEIGHT = 1280, 720
FRAMES_PER_SECOND = 30
# 384 frames are 12.8 s, which are exactly 600 AAC frames of 1024 samples at 48 kHz: picture and sound end together,
# and a player has no gap to fill when it starts again.
FRAMES = 384
SAMPLE_RATE_HZ = 48_000
SKY_TOP, SKY_LOW = (10, 20, 42), (48, 84, 116)
MOON, DOTS = (226, 232, 232), (196, 218, 224)


@dataclass(frozen=True)
class Wave:
    """One translucent layer of water.

    Args:
        level: height of its surface, as a fraction of the picture from the top.
        swell: height of its crests, in the same unit.
        crests: wavelengths across the picture.
        turns: how often it travels its own wavelength in one loop; negative goes left. A whole number, so that the
            frame after the last one is the first one.
        phase: where it starts, in radians.
        colour: red, green and blue, 0 to 255.
    """

    level: float
    swell: float
    crests: float
    turns: int
    phase: float
    colour: tuple[int, int, int]

    def surface(self, x: Picture, angle: float) -> Picture:
        """Return the height of the surface at each `x` (0 to 1), `angle` (0 to 2 pi) into the loop."""
        main = np.sin(2 * np.pi * self.crests * x + self.phase - self.turns * angle)
        ripple = np.sin(2 * np.pi * self.crests * 1.7 * x + self.phase * 2 + self.turns * angle)
        surface: Picture = self.level + self.swell * (main + 0.45 * ripple)
        return surface


WAVES = (
    Wave(0.640, 0.014, 0.8, 1, 0.4, (40, 80, 112)),
    Wave(0.715, 0.018, 0.7, -1, 2.1, (30, 64, 96)),
    Wave(0.800, 0.021, 0.6, 1, 4.0, (21, 49, 79)),
    Wave(0.895, 0.024, 0.5, -1, 5.2, (13, 35, 62)),
)


def lay(picture: Picture, colour: tuple[int, int, int], share: Picture) -> None:
    """Lay a colour over the picture, in place; `share` is how much of it, 0 to 1, for each pixel."""
    picture += (np.array(colour, np.float32) - picture) * np.clip(share, 0, 1)[..., None]


class Painter:
    """Draws the scene at any moment of the loop; what does not move is drawn once."""

    def __init__(self, width: int, height: int) -> None:
        """Lay out the picture: 16 units wide and 9 high where circles must be round."""
        self._pixel = 1 / height
        self._x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]
        self._y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self._sky = np.empty((height, width, 3), np.float32)
        self._sky[:] = SKY_TOP
        lay(self._sky, SKY_LOW, np.broadcast_to((self._y / 0.66) ** 1.5, (height, width)))
        moon = self._distance(0, 0.33)
        lay(self._sky, MOON, 0.26 * np.exp(-((moon / 1.9) ** 2)) + 0.14 * np.exp(-moon / 2.6))
        lay(self._sky, MOON, self._disc(moon, 0.86) * (0.94 - 0.1 * self._y))
        self._dots = [self._disc(self._distance(number * 0.42, 0.83), 0.075) for number in (-1, 0, 1)]

    def paint(self, angle: float) -> Picture:
        """Return the picture `angle` (0 to 2 pi) into the loop, as rows of pixels of three channels, 0 to 255."""
        picture = self._sky.copy()
        for wave in WAVES:
            depth = self._y - wave.surface(self._x, angle)
            # The crest is an edge as soft as two pixels; below it the water closes slowly over what is behind.
            lay(picture, wave.colour, np.clip(depth / self._pixel / 2 + 0.5, 0, 1) * np.clip(0.62 + depth * 3.2, 0, 1))
        for number, dot in enumerate(self._dots):
            lay(picture, DOTS, dot * (0.42 + 0.28 * np.cos(2 * angle - number * np.pi / 3)))
        return picture

    def _distance(self, x: float, y: float) -> Picture:
        """Return each pixel's distance from a point `x` units right of the middle, `y` (0 to 1) from the top."""
        distance: Picture = np.hypot((self._x - 0.5) * 16 - x, (self._y - y) * 9)
        return distance

    def _disc(self, distance: Picture, radius: float) -> Picture:
        """Return a disc whose edge is smoothed over one pixel and a half."""
        disc: Picture = np.clip((radius - distance) / (9 * self._pixel * 1.5) + 0.5, 0, 1)
        return disc


def film() -> Iterator[bytes]:
    """Yield the frames in 16 bits a channel, so that ffmpeg dithers the dark sky instead of cutting it in bands."""
    painter = Painter(WIDTH, HEIGHT)
    for number in range(FRAMES):
        yield np.rint(painter.paint(2 * np.pi * number / FRAMES) * 257).astype("<u2").tobytes()


def still() -> Iterator[bytes]:
    """Yield the first frame in 8 bits a channel."""
    yield np.rint(Painter(WIDTH, HEIGHT).paint(0)).astype(np.uint8).tobytes()


def encode(frames: Iterator[bytes], pixels: str, arguments: list[str], output: Path) -> None:
    """Pipe frames through ffmpeg; neither the date nor its version gets into the output.

    The output appears under its name only when it is whole.
    """
    partial = output.with_name(f".partial-{output.name}")
    raw = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FRAMES_PER_SECOND), "-i", "-"]
    plain = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *raw, *arguments, *plain, os.fspath(partial)]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            if process.stdin is not None:
                process.stdin.writelines(frames)
        if process.returncode:
            raise SystemExit(f"ffmpeg ended with {process.returncode}; {output} is as it was")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def make_loop(output: Path) -> None:
    """Write the film: H.264 Main profile and AAC, which every television of the last fifteen years plays."""
    silence = f"anullsrc=channel_layout=stereo:sample_rate={SAMPLE_RATE_HZ}"
    colours = ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"]
    # One group of pictures: a key frame in the middle would be seen as a faint pulse. Strong adaptive quantisation,
    # because eyes find bands in a dark sky before anything else. One thread, because their number changes the bytes.
    x264 = f"keyint={FRAMES}:scenecut=0:aq-mode=3:aq-strength=1.2:threads=1"
    encode(
        film(),
        "rgb48le",
        [
            *["-f", "lavfi", "-i", silence, "-t", str(FRAMES / FRAMES_PER_SECOND)],
            *["-vf", "scale=out_color_matrix=bt709:out_range=tv:sws_dither=bayer,format=yuv420p", *colours],
            *["-c:v", "libx264", "-profile:v", "main", "-level", "3.1", "-preset", "slow", "-crf", "23"],
            *["-x264-params", x264, "-c:a", "aac", "-b:a", "48k", "-movflags", "+faststart"],
        ],
        output,
    )


def main() -> None:
    """Make both files."""
    parser = argparse.ArgumentParser(description="Draw fallback/loop_silencioso.mp4 and fallback/placeholder.png.")
    parser.add_argument("--output", type=Path, default=Path("fallback"), help="the folder that they go to")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    encode(still(), "rgb24", ["-frames:v", "1", "-pred", "mixed"], folder / "placeholder.png")
    make_loop(folder / "loop_silencioso.mp4")


if __name__ == "__main__":
    main()
