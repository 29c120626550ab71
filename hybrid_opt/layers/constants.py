"""Constants beside the tensors that they meet: copied to a device once, since a CUDA graph can hold no such copy."""

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_copies: "WeakIdKeyDictionary" = WeakIdKeyDictionary()  # constant -> its copies by device and type


def beside(constant: Tensor, other: Tensor) -> Tensor:
    """Return a constant on the device of another tensor, and in its precision where both are of floating point."""
    key = other.device, other.dtype if constant.is_floating_point() and other.is_floating_point() else constant.dtype
    if key == (constant.device, constant.dtype):
        return constant
    copies = _copies.setdefault(constant, {})
    if key not in copies:
        with torch.inference_mode(False):  # a later pass may need gradients
            copies[key] = constant.to(*key)
    found: Tensor = copies[key]
    return found
