"""What a decoder is given at most, and what OpenCV is told of it. Loads nothing."""

from __future__ import annotations

MAX_PIXELS = 60_000_000
MAX_SIDE = 16_384  # pixels
MAX_CLIP_BYTES = 192 * 1024 * 1024
# What OpenCV's ffmpeg may take the bytes for, whatever it would guess.
FFMPEG_OPTIONS = "format_whitelist;mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm"

# OpenCV reads these once, when it is loaded.
OPENCV_LIMITS = {
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS),
    "OPENCV_IO_MAX_IMAGE_WIDTH": str(MAX_SIDE),
    "OPENCV_IO_MAX_IMAGE_HEIGHT": str(MAX_SIDE),
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": FFMPEG_OPTIONS,
    "OPENCV_LOG_LEVEL": "ERROR",
    "OMP_NUM_THREADS": "1",
}
