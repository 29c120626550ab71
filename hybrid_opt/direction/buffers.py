"""Buffers of modules, which trial points of a loss must leave as they were."""

import functools
import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

DEPTH = 3  # from a loss to its model: such as closure, list, object
ITEMS = 100  # of a container, the most that are looked at


@contextmanager
def buffers_kept(modules: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Put back what changes in the buffers of modules, such as running statistics.

    These are the modules that are given, those that run in this thread, and all modules inside of them.
    """
    kept: dict[tuple[int, str], tuple[torch.nn.Module, str, Tensor, Tensor]] = {}
    seen: set[int] = set()
    thread = threading.get_ident()

    def keep(module: torch.nn.Module, inputs: Any = ()) -> None:
        if id(module) in seen or threading.get_ident() != thread:
            return
        for part in module.modules():
            seen.add(id(part))
            for name, buffer in part.named_buffers(recurse=False, remove_duplicate=False):
                if (id(part), name) not in kept:
                    kept[id(part), name] = (part, name, buffer, buffer.clone())

    for module in modules:
        keep(module)
    hook = register_module_forward_pre_hook(keep)
    try:
        yield
    finally:
        hook.remove()
        with torch.no_grad():
            for module, name, buffer, before in kept.values():
                module._buffers[name] = buffer  # a module may assign another tensor
                buffer.copy_(before)


def modules_of(loss: Any) -> list[torch.nn.Module]:
    """The modules that a callable can reach: those of its closure, its object, its arguments and its globals."""
    found: dict[int, torch.nn.Module] = {}
    seen, layer = set[int](), [loss]
    for _ in range(DEPTH + 1):
        values = [value for value in layer if id(value) not in seen and not isinstance(value, Tensor | type)]
        seen.update(map(id, values))
        found |= {id(value): value for value in values if isinstance(value, torch.nn.Module)}
        layer = [other for value in values if id(value) not in found for other in _reached(value)]
    return list(found.values())


def _reached(value: Any) -> Iterator[Any]:
    """What a value can use without asking anybody."""
    if isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif inspect.ismethod(value):
        yield from (value.__self__, value.__func__)
    elif inspect.isfunction(value):
        for cell in value.__closure__ or ():
            with suppress(ValueError):  # nothing is in it yet
                yield cell.cell_contents
        yield from (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        yield from (value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__)
    elif isinstance(value, Mapping):
        yield from [*value.values()][:ITEMS]
    elif isinstance(value, list | tuple | set | frozenset):
        yield from [*value][:ITEMS]
    elif not isinstance(value, ModuleType):
        yield from getattr(value, "__dict__", {}).values()
