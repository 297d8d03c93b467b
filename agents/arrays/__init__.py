"""Whole arrays: policies for single cells on crossbars, feedback through the product, tiles of a large matrix."""

from agents.arrays.each_cell import EachCell
from agents.arrays.product_feedback import Feedback, write_product
from agents.arrays.tiles import Programmer, TileResult
from agents.arrays.writing import Written, write_array

__all__ = ["EachCell", "Feedback", "Programmer", "TileResult", "Written", "write_array", "write_product"]
