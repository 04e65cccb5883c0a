"""Where a run's work is done: the configuration's key `workers`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from qdgs.mistakes import Mistake
from qdgs.values import Integer, Model, Real

OWN, RUNNING = "local", "auto"
"""Addresses that are none: a Ray of the run's own on this machine, and the one that runs there already."""


class WorkersConfig(Model):
    """Where evaluations, renderings and readings run: in this process, or in processes of Ray.

    `count` workers, each with `threads` threads of a CPU and `gpus_per_worker` GPUs (a fraction shares one).
    `address` is that of a Ray cluster's head, `HOST:PORT`; `auto` is the cluster that runs on this machine,
    or that `RAY_ADDRESS` names; `local` starts one on this machine for the run alone.
    """

    kind: Literal["local", "ray"] = "local"
    count: Annotated[Integer, Field(ge=1)] = 1
    threads: Annotated[Integer, Field(ge=1)] = 1
    gpus_per_worker: Annotated[Real, Field(ge=0.0)] = 0.0
    address: str = OWN

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "local":
            self._check_local()
        elif self.address not in (OWN, RUNNING) and not _is_host_and_port(self.address):
            raise Mistake("address", f"expected HOST:PORT, auto or local, got {self.address!r}")
        if self.gpus_per_worker > 1 and not self.gpus_per_worker.is_integer():
            raise Mistake(
                "gpus_per_worker", f"expected a whole number or a part of one, got {self.gpus_per_worker:g}"
            )
        return self

    def _check_local(self) -> None:
        for key, field in type(self).model_fields.items():
            if key != "kind" and getattr(self, key) != field.default:
                raise Mistake(key, f"expected {field.default} where kind is local, got {getattr(self, key)}")


def _is_host_and_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and "/" not in host and port.isdigit() and 0 < int(port) < 65536
