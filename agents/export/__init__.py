"""Policies for a controller without Python: C99, its network with weights of 8 bits if wanted, or ONNX."""

from typing import TYPE_CHECKING

from agents.export.c_code import c_files, rounded
from agents.export.recording import recorded_steps
from memenv.lazy import lazily

if TYPE_CHECKING:
    from agents.export.onnx_model import onnx_bytes

__all__ = ["c_files", "onnx_bytes", "recorded_steps", "rounded"]

__getattr__ = lazily(__name__, {"agents.export.onnx_model": ("onnx_bytes",)})
