"""The peers. To add one, write a module with a ``PEER`` and list it here."""

from benchmarks.peers import compiled, half, jax_scan, loop, onnx_runtime, scan, torch_nn, torch_recurrent
from benchmarks.peers.peer import Peer, missing

PEERS: list[Peer] = [
    torch_nn.PEER,
    half.PEER,
    loop.PEER,
    compiled.PEER,
    torch_recurrent.PEER,
    onnx_runtime.PEER,
    jax_scan.PEER,
    scan.PEER,
]

__all__ = ["PEERS", "Peer", "missing"]
