"""The registry of rules: what each ATen op does to abstract tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isoloss.finding._abstract import Abstract, Pass
from isoloss.finding._tape import Call

Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}
# Rules that may see an elementwise square before it is summed, and so tell a norm from a nonlinear function.
LAZY: set[str] = set()


@dataclass(frozen=True)
class Context:
    """What a rule may ask about the op it describes.

    Attributes:
        pass_: The pass, for equations and new factors.
        call: The recorded op, with shapes and constants.
        shapes: Shapes of its outputs.
        used: Which of them something reads.
    """

    pass_: Pass
    call: Call
    shapes: tuple[tuple[int, ...], ...]
    used: tuple[bool, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its first output."""
        return self.shapes[0]

    @property
    def key(self) -> tuple:
        """A name for axes that are born here, the same in every pass."""
        return ("op", self.call.index)

    def constant(self, index: int):
        """The value of an argument that depends on neither parameters nor inputs, else None."""
        value = self.call.args[index] if index < len(self.call.args) else None
        return getattr(value, "constant", None)


def name_of(op: Any) -> str:
    """The name of an op without its overload: aten::add for add.Tensor and for the in-place add_."""
    if not hasattr(op, "_schema"):
        return str(op)
    name = op._schema.name
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def rule(*ops: Any, lazy: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for ATen ops, all overloads and in-place variants of each.

    A rule takes a `Context` and the op's arguments, with abstract tensors in place of tensors, and returns an
    abstract tensor for each output. It describes what the op does with the verbs of `isoloss.finding.calculus`.

    Args:
        ops: Ops such as torch.ops.aten.relu, or their names.
        lazy: The rule wants to see squares that have not been summed yet.

    Example:
        >>> import torch
        >>> from isoloss.finding import calculus, rule
        >>> @rule("mylib::softsign")
        ... def softsign(c, x):
        ...     return calculus.elementwise(c.pass_, x, scale=None, sign=1)
    """

    def register(function: Rule) -> Rule:
        for op in ops:
            name = op if isinstance(op, str) else _packet_name(op)
            RULES[name] = function
            if lazy:
                LAZY.add(name)
        return function

    return register


def _packet_name(op: Any) -> str:
    if hasattr(op, "_schema"):
        return name_of(op)
    return op._qualified_op_name


__all__ = ["LAZY", "RULES", "Abstract", "Context", "Rule", "name_of", "rule"]
