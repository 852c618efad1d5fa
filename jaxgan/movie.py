"""Moving pictures: frames in, bytes of a GIF or of an MP4 out."""

import contextlib
import io
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.errors import UserError

_PALETTE = 256
_SAMPLED = 2**16  # pixels that a palette is chosen from


def encode_gif(frames: np.ndarray, milliseconds: int = 50, ping_pong: bool = True, scale: int = 1) -> bytes:
    """An endless GIF with one palette for all frames, so that still parts do not flicker.

    Grey frames, and frames that have no more than 256 colours in all, are exact. Others get 256 colours by median cut
    and are not dithered, since dithering differs from frame to frame. Alpha is composited on white.

    Args:
        frames: uint8 [N, H, W, C], C of 1, 3 or 4.
        milliseconds: of a frame; the format counts in tens, and viewers slow down what is below 20.
        ping_pong: forwards and backwards, the end points shown once.
        scale: each pixel `scale` x `scale`.

    Raises:
        UserError: the frames are of another kind, or a number is too small.
    """
    frames = _checked(frames, scale)
    if milliseconds < 20:
        raise UserError(f"milliseconds={milliseconds} is too fast for a GIF; use 20 or more")
    pictures, palette = _grey(frames) if frames.shape[3] == 1 else _indexed(frames)
    pictures = [p.resize((p.width * scale, p.height * scale), Image.Resampling.NEAREST) for p in pictures]
    if ping_pong:
        pictures += pictures[-2:0:-1]
    # Unless the palette is named, Pillow writes it anew with every frame.
    options = {"duration": int(milliseconds), "loop": 0, "optimize": False, "palette": palette}
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], **options)
    return buffer.getvalue()


def encode_mp4(frames: np.ndarray, fps: float = 20.0, scale: int = 1) -> bytes:
    """An MP4 that players and browsers know: H.264, yuv420p; odd sides are made even by repeating the last pixel.

    Args:
        frames: uint8 [N, H, W, C], C of 1, 3 or 4 (alpha is composited on white).
        fps: frames a second.
        scale: each pixel `scale` x `scale`.

    Raises:
        UserError: imageio-ffmpeg is not installed, the frames are of another kind, or fps is not above 0.
    """
    program = find_ffmpeg()
    frames = _checked(frames, scale)
    if not (math.isfinite(fps) and fps > 0):
        raise UserError(f"fps={fps} must be above 0")
    height, width = (side * scale + side * scale % 2 for side in frames.shape[1:3])
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps}", "-i", "-"]
    coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "16", "-movflags", "+faststart"]
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "movie.mp4", Path(folder) / "log"
        # Not imageio_ffmpeg.write_frames, which forks: that may deadlock beside JAX's threads.
        command = [program, "-hide_banner", "-loglevel", "error", *raw, *coded, str(path)]
        with (
            open(log, "wb") as errors,
            contextlib.suppress(BrokenPipeError),  # a program that fails closes the pipe; its output then says why
            subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as process,
        ):
            for frame in frames:
                large = frame.repeat(scale, axis=0).repeat(scale, axis=1)
                more = ((0, height - large.shape[0]), (0, width - large.shape[1]), (0, 0))
                rgb = np.broadcast_to(np.pad(large, more, mode="edge"), (height, width, 3))
                process.stdin.write(rgb.tobytes())
        if process.returncode or not path.exists():
            reason = " ".join(log.read_text(errors="replace").split())[:200]
            raise UserError(f"ffmpeg ({program}) could not make the MP4 ({reason}); use GIF")
        return path.read_bytes()


def shrink(images: np.ndarray, side: int) -> np.ndarray:
    """uint8 images [N, H, W, C] whose sides are at most so long: means of blocks, or the array itself."""
    factor = -(-max(images.shape[1:3]) // side)
    if factor == 1:
        return images
    pictures = (Image.fromarray(i[..., 0] if i.shape[-1] == 1 else i).reduce(factor) for i in images)
    found = np.stack([np.asarray(p) for p in pictures])
    return found.reshape(*found.shape[:3], -1)


def find_ffmpeg() -> str:
    """The path of imageio-ffmpeg's ffmpeg.

    Raises:
        UserError: it is not installed, or finds none.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise UserError('MP4 needs the package imageio-ffmpeg; `pip install "jaxgan[video]"`, or use GIF') from error
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise UserError("imageio-ffmpeg finds no ffmpeg; install one or set IMAGEIO_FFMPEG_EXE, or use GIF") from error


def _checked(frames: np.ndarray, scale: int) -> np.ndarray:
    """Frames with one channel or three."""
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] not in (1, 3, 4) or not frames.size:
        raise UserError(
            f"a movie needs uint8 frames [N, H, W, C], N >= 1 and C of 1, 3 or 4, not {frames.dtype} {frames.shape}"
        )
    if scale < 1:
        raise UserError(f"scale must be an integer >= 1, not {scale}")
    return _on_white(frames) if frames.shape[3] == 4 else frames


def _on_white(frames: np.ndarray) -> np.ndarray:
    alpha = frames[..., 3:].astype(np.uint16)
    return ((frames[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _grey(frames: np.ndarray) -> tuple[list[Image.Image], bytes]:
    return [Image.fromarray(frame[..., 0]) for frame in frames], bytes(np.repeat(np.arange(256, dtype=np.uint8), 3))


def _indexed(frames: np.ndarray) -> tuple[list[Image.Image], bytes]:
    """RGB frames as indices into one palette, and that."""
    exact = _few_colours(frames)
    if exact is not None:
        palette, indices = exact
        pictures = [Image.fromarray(i) for i in indices]
        for picture in pictures:
            picture.putpalette(palette)
        return pictures, palette
    pixels = frames.reshape(-1, 3)
    pixels = pixels[:: -(-len(pixels) // _SAMPLED)]
    common = Image.fromarray(np.ascontiguousarray(pixels[None])).quantize(_PALETTE)
    pictures = [Image.fromarray(frame).quantize(palette=common, dither=Image.Dither.NONE) for frame in frames]
    return pictures, bytes(common.getpalette())


def _few_colours(frames: np.ndarray) -> tuple[bytes, np.ndarray] | None:
    """(palette, indices [N, H, W]) of frames of at most 256 colours; None for others."""
    red, green, blue = (frames[..., i].astype(np.uint32) for i in range(3))
    codes = red << 16 | green << 8 | blue
    if len(np.unique(codes.ravel()[:: -(-codes.size // 2**12)])) > _PALETTE:  # a few pixels of most have too many
        return None
    found, indices = np.unique(codes, return_inverse=True)
    if len(found) > _PALETTE:
        return None
    palette = (found[:, None] >> np.array([16, 8, 0], np.uint32)).astype(np.uint8)
    return palette.tobytes(), indices.reshape(codes.shape).astype(np.uint8)
