"""What follows from a cell's equations: the graph of a step, its derivative, its formulas in print."""

from gatewise.graph.derive import Backward, derive
from gatewise.graph.evaluate import evaluate
from gatewise.graph.explain import equations, explain
from gatewise.graph.graph import Graph, Node
from gatewise.graph.linear import Linear, NotLinear, linear
from gatewise.graph.recurrent_dropout import KINDS_OF_RECURRENT_DROPOUT, check_kind, recurrent_dropout
from gatewise.graph.show import updates
from gatewise.graph.trace import trace

__all__ = [
    "KINDS_OF_RECURRENT_DROPOUT", "Backward", "Graph", "Linear", "Node", "NotLinear", "check_kind", "derive",
    "equations", "evaluate", "explain", "linear", "recurrent_dropout", "trace", "updates",
]  # fmt: skip
