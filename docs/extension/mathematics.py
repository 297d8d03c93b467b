"""Equations as MathML, which browsers show without a script or a font from elsewhere."""

from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml


def inline(writer: Any, node: Any) -> None:
    """An equation in a line."""
    writer.body.append(tex2mathml(node.astext()))
    raise SkipNode


def block(writer: Any, node: Any) -> None:
    """An equation of its own."""
    writer.body.append(tex2mathml(node.astext(), as_block=True))
    raise SkipNode
