"""Plan -> C++: the stages and the tables of one cell, to be read beside its equations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gatewise.engines.native.plan import TRANSPOSED_SUM, BackwardPlan, ForwardPlan
from gatewise.engines.native.row_function import row_function
from gatewise.engines.native.spell import Body, Names, StageFunction, bare, indent
from gatewise.graph import Graph, derive
from gatewise.graph.show import formulas

BACKWARD_WIDTH = 2
"""Panels side by side in the backward pass, where a block has one product to fill the registers."""


class Emitter:
    """Writes one cell's C++."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.forward = ForwardPlan(graph)
        self.backward = BackwardPlan(self.forward, derive(graph))
        self.kept = {node: k for k, node in enumerate(self.backward.kept)}
        self.planes = {node: k for k, node in enumerate(self.backward.gradients)}
        self.temporaries = {node: k for k, node in enumerate(self.backward.temporaries)}
        self.means = {node: k for k, node in enumerate(self.forward.means)}
        derived = enumerate(self.backward.derived, len(self.means))
        self.derived = {(one.node, one.inverse): k for k, one in derived}  # after the means, one number a row as they
        self.back_means = {node: k for k, node in enumerate(self.backward.means)}
        self.names = self._names()
        self.sums: dict[int, int] = {}  # node -> its place among the sums
        self.sum_rows = self._sum_rows()
        self.packs: list[str] = []
        self.gates: list[str] = []

    def _mask(self, name: str, context: str) -> str:
        return f"{context}.c.mask({self.graph.masks.index(name)}, {context}.time, panel, at.row + i)"

    def _names(self) -> Names:
        used = self.graph.connections
        taken = (("x_bias", used.input), ("u_bias", used.dense), ("diag", used.diag))
        names = Names(f"{what}_{gate}" for what, gates in taken for gate in gates)
        nodes = self.backward.nodes

        def give(i: int, name: str) -> None:
            if nodes[i].op != "constant":
                names.give(i, name)

        spelled = {"state": "{}", "input": "x_{}", "dense": "u_{}", "cotangent": "d_next_{}"}
        for i, node in enumerate(nodes):
            if node.op == "vector":
                give(i, f"vector_{node.of}")
        for i, node in enumerate(nodes):
            if node.op in spelled:
                give(i, spelled[node.op].format(node.of))
        for i, name in self.graph.names:
            give(i, name)
        for state, i in zip(self.graph.states, self.graph.results, strict=True):
            give(i, f"next_{state}")
        for gate, i in self.backward.inputs:
            give(i, f"d_x_{gate}")
        for gate, _, i in self.backward.dense:
            give(i, f"d_u_{gate}")
        for state, i in zip(self.graph.states, self.backward.states, strict=True):
            give(i, f"d_{state}")
        return names

    def _sum_rows(self) -> list[tuple[str, int, int]]:
        """(target, row, sum): the rows of biases, diagonals and vectors whose gradient is a sum over rows and steps."""
        used, plan = self.graph.connections, self.backward
        rows = [("input_bias", used.input.index(gate), i) for gate, i in plan.inputs]
        rows += [("recurrent_bias", used.dense.index(gate), i) for gate, _, i in plan.dense]
        rows += [("diag", used.diag.index(gate), i) for gate, i in plan.diag]
        rows += [("vector", used.vector.index(vector), i) for vector, i in plan.vectors]
        return [(target, row, self.sums.setdefault(i, len(self.sums))) for target, row, i in rows]

    def _pack(self, source: str, direction: str, width: int, gates: Iterable[str]) -> int:
        used = self.graph.connections.input if source == "input" else self.graph.connections.dense
        rows = [used.index(gate) for gate in gates]
        index = len(self.packs)
        self.gates.append(f"static constexpr int gates_{index}[] = {{{', '.join(map(str, rows))}}};")
        self.packs.append(f"{{Source::{source}, Direction::{direction}, {width}, {{{len(rows)}, gates_{index}}}}}")
        return index

    def _unit_vectors(self, wanted: Iterable[tuple[str, str]], context: str) -> list[str]:
        """Vectors over the units that hold for all rows of a panel: loaded once a panel."""
        used = self.graph.connections
        spelled = {
            "input": ("x_bias", "c.input_bias", used.input),
            "dense": ("u_bias", "c.recurrent_bias", used.dense),
            "diag": ("diag", "c.diag", used.diag),
            "vector": ("vector", "c.vector", used.vector),
        }
        lines = []
        for op, of in dict.fromkeys(wanted):
            name, source, rows = spelled[op]
            lines.append(f"const vec {name}_{of} = {context}.c.units({context}.{source}, {rows.index(of)}, panel);")
        return lines

    def _forward_width(self, stage: int) -> int:
        """Panels side by side: two where one gate alone would leave registers unused."""
        many = [len(self.forward.inputs[stage]), *(len(g.gates) for g in self.forward.groups[stage])]
        return 2 if max(many) <= 1 else 1

    def _forward_products(self, stage: int, function: StageFunction) -> dict[int, str]:
        """The products of a stage; returns how their results are had."""
        nodes, width = self.graph.nodes, function.width
        had: dict[int, str] = {}
        inputs = self.forward.inputs[stage]
        if inputs:
            pack = self._pack("input", "forward", width, inputs)
            function.head += [
                f"Tile<{len(inputs) * width}> x;  // W x for {', '.join(inputs)}",
                f"f.project(x, pack({pack}), {pack}, at);",
            ]
        for i, node in enumerate(nodes):
            if node.op == "input" and self.forward.stage[i] == stage:
                had[i] = f"x(i, {function.column(inputs.index(node.of), len(inputs))}) + x_bias_{node.of}"
        for k, group in enumerate(self.forward.groups[stage]):
            operand, count = nodes[group.operand], len(group.gates)
            if operand.op == "state":
                value = f"f.state_operand({self.graph.states.index(operand.of)})"
            else:
                value = f"f.kept_operand({self.kept[group.operand]})"
            pack = self._pack("recurrent", "forward", width, group.gates)
            function.head += [
                f"Tile<{count * width}> u{k};  // U {self.names.get(group.operand)} for {', '.join(group.gates)}",
                f"f.multiply(u{k}, pack({pack}), {pack}, {value}, at);",
            ]
            for c, node in enumerate(group.nodes):
                had[node] = f"u{k}(i, {function.column(c, count)}) + u_bias_{nodes[node].of}"
        return had

    def _forward_stage(self, stage: int) -> list[str]:
        plan, nodes = self.forward, self.graph.nodes
        function = StageFunction("f", self._forward_width(stage))
        products = self._forward_products(stage, function)

        def had(i: int) -> str | None:
            node = nodes[i]
            if node.op == "state":
                return function.load("previous", self.graph.states.index(node.of))
            if node.op == "vector":
                return f"vector_{node.of}"
            if node.op == "mask":
                return self._mask(node.of, "f")
            if i in self.forward.row_values and plan.stage[i] <= stage and (place := self._row_value(i)) is not None:
                return f"f.means({place}, at.row + i)"
            if plan.stage[i] < stage and i in plan.crossing:
                return function.load("kept", self.kept[i])
            return products.get(i)

        results = [(s, i) for s, i in enumerate(self.graph.results) if plan.stage[i] == stage]
        operands = {n.args[0] for n in nodes if n.op == "dense"}
        multiplied = {self.graph.states.index(nodes[i].of) for i in operands if nodes[i].op == "state"}
        stored = [i for i in self.kept if plan.stage[i] == stage]
        means = [(k, nodes[i].args[0]) for i, k in self.means.items() if plan.stage[i] == stage + 1]
        ends = [*(i for _, i in results), *stored, *(i for _, i in means)]
        body = Body(nodes, had, self.names, ends, self._inverses("f.means"))
        body.define_all()
        function.per_row += body.lines
        function.per_row += [f"f.means.add({k}, panel, at.row + i, {bare(body.value(i))});" for k, i in means]
        for i in stored:
            guard = "" if i in plan.crossing else "if (f.keep) "
            function.per_row.append(guard + function.store("kept", self.kept[i], body.value(i)))
            if i in plan.operands:
                narrow = f"f.narrow_stored({self.kept[i]}, panel, at.row + i, {{}});"
                function.per_row.append(narrow.format(body.value(i)))
                function.idle += [function.store("kept", self.kept[i], "vec{}"), narrow.format("vec{}")]
        for s, i in results:
            function.per_row.append(function.store("next", s, body.value(i)))
            function.idle.append(function.store("next", s, function.load("previous", s)))
            if s in multiplied:
                narrow = f"f.narrow_state({s}, panel, at.row + i, {{}});"
                function.per_row.append(narrow.format(body.value(i)))
                function.idle.append(narrow.format(function.load("previous", s)))
            if s == 0:
                function.per_panel.append("const auto out = f.output(panel, at.row);")
                function.per_row.append(f"out.put(i, {body.value(i)});")
                function.idle.append("out.put(i, vec{});")
        needed = [(i, nodes[i]) for i in sorted(body.needed)]
        wanted = [(n.op, n.of) for i, n in needed if n.op in ("diag", "vector") or i in products]
        function.per_panel += self._unit_vectors(wanted, "f")
        return function.lines(f"forward_{stage}", "Forward")

    def _row_value(self, i: int) -> int | None:
        """The place of a mean of the forward pass, or of what is made of such; None of anything else."""
        return self.means.get(i, self.derived.get((i, False)))

    def _inverses(self, means: str) -> dict[int, str]:
        return {i: f"{means}({k}, at.row + i)" for (i, inverse), k in self.derived.items() if inverse}

    def _of_means(self) -> list[str]:
        def had(i: int) -> str | None:
            return f"means.rows({self.means[i]}, row, last)" if i in self.means else None

        places = [(one, self.derived[one.node, one.inverse]) for one in self.backward.derived]
        return row_function(places, lambda roots: Body(self.backward.nodes, had, self.names, roots))

    def _backward_products(self, stage: int, function: StageFunction) -> dict[int, str]:
        plan, nodes = self.backward, self.backward.nodes
        had: dict[int, str] = {}
        products = [i for i, n in enumerate(nodes) if n.op == TRANSPOSED_SUM and plan.stage[i] == stage]
        for k, i in enumerate(products):
            gates = nodes[i].of.split(" ")
            pack = self._pack("recurrent", "backward", function.width, gates)
            planes = ", ".join(str(self.planes[a]) for a in nodes[i].args)
            terms = " + ".join(f"U_{g}^T {self.names.get(a)}" for g, a in zip(gates, nodes[i].args, strict=True))
            function.head += [
                f"Tile<{function.width}> back{k};  // {terms}",
                f"b.multiply(back{k}, pack({pack}), {pack}, {{{planes}}}, at);",
            ]
            had[i] = f"back{k}(i, p)"
        return had

    def _backward_leaves(self, stage: int, function: StageFunction) -> Callable[[int], str | None]:
        """How a stage has what is not its own to compute; None for what it computes."""
        plan, nodes, count = self.backward, self.backward.nodes, len(self.graph.nodes)
        products = self._backward_products(stage, function)

        def had(i: int) -> str | None:
            if (place := self._row_value(i)) is not None:
                return f"b.forward_mean({place}, at.row + i)"
            if i < count:
                return self._forward_value(i, function)
            if plan.stage[i] < stage and nodes[i].op not in ("constant", "mean"):
                if i in self.planes:
                    return function.load("gradients", self.planes[i])
                return function.load("temporaries", self.temporaries[i])
            if i in self.back_means:
                return f"b.means({self.back_means[i]}, at.row + i)"
            if nodes[i].op == "cotangent":
                state = self.graph.states.index(nodes[i].of)
                later = function.load("carried", state)
                return f"out.add(i, {later})" if state == 0 else later
            return products.get(i)

        return had

    def _backward_stage(self, stage: int) -> list[str]:
        plan, nodes = self.backward, self.backward.nodes
        function = StageFunction("b", BACKWARD_WIDTH if stage else 1)
        had = self._backward_leaves(stage, function)
        states = [(s, i) for s, i in enumerate(plan.states) if plan.stage[i] == stage]
        stored = [
            (kind, index, i)
            for kind, places in (("gradients", self.planes), ("temporaries", self.temporaries))
            for i, index in places.items()
            if plan.stage[i] == stage
        ]
        sums = [i for i in self.sums if plan.stage[i] == stage]
        means = [(k, nodes[i].args[0]) for i, k in self.back_means.items() if plan.stage[i] == stage + 1]
        ends = [*(i for *_, i in stored), *(i for _, i in states), *sums, *(i for _, i in means)]
        body = Body(nodes, had, self.names, ends, self._inverses("b.forward_mean"))
        body.define_all(first=len(self.graph.nodes))
        function.per_row += body.lines
        function.per_row += [f"b.means.add({k}, panel, at.row + i, {bare(body.value(i))});" for k, i in means]
        self._store_gradients(stored, body, function)
        function.per_row += [function.store("carried", s, body.value(i)) for s, i in states]
        output = self.graph.states[0]
        if any(nodes[i].op == "cotangent" and nodes[i].of == output and plan.stage[i] == stage for i in body.needed):
            function.per_panel.append("const auto out = b.output(panel, at.row);")
        for i in sums:
            total = f"sum_{self.sums[i]}"
            function.per_panel.append(f"vec {total}{{}};")
            function.per_row.append(f"{total} += {body.value(i)};")
            function.after.append(f"b.add_to_sum({self.sums[i]}, panel, {total});")
        wanted = [(nodes[i].op, nodes[i].of) for i in sorted(body.needed) if nodes[i].op in ("diag", "vector")]
        function.per_panel += self._unit_vectors(wanted, "b")
        return function.lines(f"backward_{stage}", "Backward")

    def _store_gradients(self, stored: Iterable[tuple[str, int, int]], body: Body, function: StageFunction) -> None:
        """What later stages, and the products, read: (kind, index, node); the latter narrow too."""
        plan = self.backward
        multiplied = {a for n in plan.nodes if n.op == TRANSPOSED_SUM for a in n.args} | {i for _, i in plan.inputs}
        for kind, index, i in stored:
            function.per_row.append(function.store(kind, index, body.value(i)))
            if kind == "gradients":
                function.idle.append(function.store(kind, index, "vec{}"))
            if kind == "gradients" and i in multiplied:
                narrow = f"b.narrow_gradient({index}, panel, at.row + i, {{}});"
                function.per_row.append(narrow.format(body.value(i)))
                function.idle.append(narrow.format("vec{}"))

    def _forward_value(self, i: int, function: StageFunction) -> str | None:
        """How the backward pass has a forward value: in memory, or not (it is computed again)."""
        node = self.graph.nodes[i]
        if node.op == "state":
            return function.load("previous", self.graph.states.index(node.of))
        if node.op == "vector":
            return f"vector_{node.of}"
        if node.op == "mask":
            return self._mask(node.of, "b")
        if i in self.kept:
            return function.load("kept", self.kept[i])
        if i in self.graph.results:
            return function.load("next", self.graph.results.index(i))
        return None

    def _counts(self) -> list[str]:
        used = self.graph.connections
        counts = {
            "states": len(self.graph.states), "inputs": len(used.input), "denses": len(used.dense),
            "diags": len(used.diag), "vectors": len(used.vector), "kept": len(self.kept),
            "working": len(self.forward.crossing), "gradients": len(self.planes),
            "temporaries": len(self.temporaries), "sums": len(self.sums), "packs": len(self.packs),
            "forward_stages": self.forward.stages, "backward_stages": self.backward.stages,
            "backward_width": BACKWARD_WIDTH, "means": len(self.means) + len(self.derived),
            "back_means": len(self.back_means), "masks": len(self.graph.masks),
        }  # fmt: skip
        return [f"static constexpr int {name} = {count};" for name, count in counts.items()]

    def _tables(self) -> list[str]:
        used, inputs = self.graph.connections, self.backward.inputs
        x_pack = self._pack("input", "backward", BACKWARD_WIDTH, (g for g, _ in inputs)) if inputs else -1
        x_planes = ", ".join(str(self.planes[i]) for _, i in inputs) or "0"
        widths = ", ".join(str(self._forward_width(s)) for s in range(self.forward.stages))
        dense = [self._dense_gradient(*entry) for entry in self.backward.dense]
        return [
            *self.gates,
            "static const Pack &pack(int i) {",
            f"  static constexpr Pack all[{max(1, len(self.packs))}] = {{",
            *indent([f"{p}," for p in self.packs], 6),
            "  };",
            "  return all[i];",
            "}",
            *self._counts(),
            f"static constexpr int forward_width[] = {{{widths}}};",
            f"static constexpr int forward_means[] = {{{self._means_until(self.forward, self.means)}}};",
            f"static constexpr int backward_means[] = {{{self._means_until(self.backward, self.back_means)}}};",
            f"static constexpr int input_gradient_pack = {x_pack};",
            f"static constexpr int input_gradient_planes[] = {{{x_planes}}};",
            _table("DenseGradient", "dense_gradients", dense),
            _table("InputGradient", "input_gradients", [f"{used.input.index(g)}, {self.planes[i]}" for g, i in inputs]),
            _table("SumGradient", "sum_gradients", [f"Sum::{t}, {row}, {place}" for t, row, place in self.sum_rows]),
        ]

    @staticmethod
    def _means_until(plan: ForwardPlan | BackwardPlan, means: Mapping[int, int]) -> str:
        """For each stage, how many means have been summed before it and in it; the first entry is 0."""
        counts = [sum(plan.stage[i] <= stage for i in means) for stage in range(plan.stages + 1)]
        return ", ".join(map(str, counts))

    def _dense_gradient(self, gate: str, operand: int, node: int) -> str:
        value, row = self.graph.nodes[operand], self.graph.connections.dense.index(gate)
        if value.op == "state":
            return f"{row}, Operand::state, {self.graph.states.index(value.of)}, {self.planes[node]}"
        return f"{row}, Operand::kept, {self.kept[operand]}, {self.planes[node]}"

    def source(self) -> str:
        """The whole file."""
        stages = [line for stage in range(self.forward.stages) for line in self._forward_stage(stage)]
        stages += [line for stage in range(self.backward.stages) for line in self._backward_stage(stage)]
        inside = [
            *stages,
            *self._of_means(),
            *_dispatch("forward", "const Forward &f", self.forward.stages),
            *_dispatch("backward", "const Backward &b", self.backward.stages),
            "",
            *self._tables(),
        ]
        equations = [f"// {line}".rstrip() for line in formulas(self.graph).split("\n")]
        return "\n".join(
            [
                *equations,
                "",
                '#include "kernel.h"',
                "",
                "namespace gatewise {",
                "",
                "struct Cell {",
                *indent(inside, 2),
                "};",
                "",
                "}  // namespace gatewise",
                "",
                "GATEWISE_KERNEL(gatewise::Cell)",
                "",
            ]
        )


def _dispatch(name: str, argument: str, stages: int) -> list[str]:
    context = argument[-1]
    cases = [f"  if (stage == {k}) return {name}_{k}({context}, at);" for k in range(stages)]
    return [f"static void {name}(int stage, {argument}, const Block &at) {{", *cases, "}"]


def _table(kind: str, name: str, rows: list[str]) -> str:
    braced = ", ".join(f"{{{row}}}" for row in rows)
    return f"static constexpr std::array<{kind}, {len(rows)}> {name}{{{{{braced}}}}};"


def emit(graph: Graph) -> str:
    """The C++ source of a cell's kernel."""
    return Emitter(graph).source()
